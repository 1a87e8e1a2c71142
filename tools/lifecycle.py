"""The life of a version in an environment, as a table: state and event to the next state, mails, registry and parameters.

`python -m tools.lifecycle` writes docs/lifecycle.md. tests/rules/test_lifecycle.py walks every cell of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

PAGE = Path(__file__).parents[1] / "docs" / "lifecycle.md"

STATES = {
    "Unregistered": "not in the ledger",
    "Waiting": "registered, and not asked for here yet; `PendingManualApproval`",
    "Pending": "a request is open; `PendingManualApproval`",
    "Approved": "live here",
    "Replaced": "was live here, until a newer version; `Superseded`",
    "Superseded": "its request gave way to a newer version, or came after it",
    "Rejected": "an approver rejected its request, or it was registered as Rejected",
    "Expired": "nobody decided in time",
    "Withdrawn": "its requester withdrew its request",
    "RolledBack": "was live here, until somebody went back to an older version",
    "Revoked": "may be used nowhere",
}
CLOSED = ("Superseded", "Rejected", "Expired", "Withdrawn", "RolledBack")
REGISTERED = ("Waiting", "Pending", "Approved", "Replaced", *CLOSED)


class Cell(Struct, frozen=True, kw_only=True):
    """Effect of an event. `to` is empty where the state stays, `registry` where `ModelApprovalStatus` is not written."""

    to: str = ""
    mails: tuple[str, ...] = ()
    registry: str = ""
    live: str = ""
    refused: bool = False
    recorded: bool = True


class Happening(Struct, frozen=True, kw_only=True):
    """An event: its name, and its cell for each state; `other` for states not named, None if impossible."""

    about: str
    cells: dict[str, Cell] = {}
    other: Cell | None = None


RECORDED = Cell()
NOTHING = Cell(recorded=False)
REFUSED = Cell(refused=True, recorded=False)
THIS, OTHER = "this version", "another version, or none"
ASKED = Cell(to="Pending", mails=("approvers",))
STOPPED = Cell(to="Pending", mails=("approvers", "requester"))
PENDING, APPROVED, REJECTED = "PendingManualApproval", "Approved", "Rejected"
OUTSIDE = Cell(mails=("approvers of every environment",))

EVENTS: dict[str, Happening] = {
    "registered": Happening(about="the first environment is asked", cells={"Unregistered": ASKED}),
    "registered, for later": Happening(
        about="for each environment after the first; so with `adopted` for all others",
        cells={"Unregistered": Cell(to="Waiting")},
    ),
    "registered late": Happening(
        about="after a newer version asks or is live in the first environment",
        cells={"Unregistered": Cell(to="Superseded", mails=("requester",))},
    ),
    "told again": Happening(about="the same registration comes once more", other=NOTHING),
    "first run passes": Happening(about="in the environment before, where it is live", cells={"Waiting": ASKED}),
    "first run passes, changed since": Happening(
        about="the same, where the registry has another image, model data or setting than was reviewed before, or no package",
        cells={"Waiting": STOPPED},
    ),
    "first run fails a gate": Happening(about="the same, below a gate of this environment", cells={"Waiting": STOPPED}),
    "first run fails": Happening(about="the same, without a result", cells={"Waiting": STOPPED}),
    "first run, late": Happening(
        about="a newer version asks or is live here by then",
        cells={"Waiting": Cell(to="Superseded", mails=("requester",))},
    ),
    "run": Happening(
        about="a further one in the environment before, with the same verdict, or one more that fails",
        cells={"Waiting": RECORDED},
        other=RECORDED,
    ),
    "run fails": Happening(
        about="a further one in the environment before, without a result, after one that had one",
        other=Cell(mails=("requester",)),
    ),
    "run, gates pass now": Happening(
        about="the gates of the open request failed before", cells={"Pending": Cell(mails=("approvers",))}
    ),
    "run, gates fail now": Happening(
        about="the gates of the open request passed before", cells={"Pending": Cell(mails=("approvers", "requester"))}
    ),
    "approved, more needed": Happening(about="below the quorum", cells={"Pending": RECORDED}, other=REFUSED),
    "approved": Happening(
        about="the quorum is complete",
        cells={"Pending": Cell(to="Approved", mails=("requester",), registry=APPROVED, live=THIS)},
        other=REFUSED,
    ),
    "approved against a gate": Happening(about="a gate of the request failed", cells={"Pending": REFUSED}),
    "approved out of order": Happening(
        about="it is no longer approved for the environment before", cells={"Pending": REFUSED}
    ),
    "approved in a freeze": Happening(about="a freeze window of the environment is open", cells={"Pending": REFUSED}),
    "rejected": Happening(
        about="by one approver",
        cells={"Pending": Cell(to="Rejected", mails=("requester",), registry=REJECTED)},
        other=REFUSED,
    ),
    "withdrawn": Happening(
        about="by its requester",
        cells={"Pending": Cell(to="Withdrawn")},
        other=REFUSED,
    ),
    "asked again": Happening(
        about="by a person, while nothing newer is pending or live",
        cells=dict.fromkeys(CLOSED, Cell(to="Pending", mails=("approvers",), registry=PENDING)),
        other=REFUSED,
    ),
    "asked again, late": Happening(
        about="while something newer is pending or live",
        cells=dict.fromkeys(("Waiting", "Approved", "Replaced", "Revoked", *CLOSED), REFUSED),
    ),
    "half its time": Happening(
        about="has passed, outside of freezes; not to those who have voted",
        cells={"Pending": Cell(mails=("approvers",))},
    ),
    "half its time, stopped": Happening(about="the same, of what no approver may approve", cells={"Pending": RECORDED}),
    "its time": Happening(
        about="has passed, outside of freezes", cells={"Pending": Cell(to="Expired", mails=("requester",))}
    ),
    "a newer one asks": Happening(
        about="another version, with a higher number",
        cells={"Pending": Cell(to="Superseded", mails=("requester",))},
        other=NOTHING,
    ),
    "another goes live": Happening(
        about="a newer one, approved, adopted or rolled forward to",
        cells={
            "Approved": Cell(to="Replaced", live=OTHER),
            "Pending": Cell(to="Superseded", mails=("requester",)),
        },
        other=NOTHING,
    ),
    "rolled back to it": Happening(
        about="it was live here",
        cells={
            "Approved": REFUSED,
            "Revoked": REFUSED,
            **dict.fromkeys(
                ("Pending", "Replaced", *CLOSED), Cell(to="Approved", mails=("approvers", "requester"), live=THIS)
            ),
        },
    ),
    "rolled back to it, never live": Happening(
        about="it was never live here",
        cells=dict.fromkeys(
            ("Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn", "Revoked"), REFUSED
        ),
    ),
    "rolled back from it": Happening(
        about="to an older version", cells={"Approved": Cell(to="RolledBack", live=OTHER)}
    ),
    "revoked": Happening(
        about="everywhere at once",
        cells={
            "Unregistered": REFUSED,
            "Revoked": REFUSED,
            "Approved": Cell(to="Revoked", mails=("everybody",), registry=REJECTED, live=OTHER),
        },
        other=Cell(to="Revoked", mails=("everybody",), registry=REJECTED),
    ),
    "what was live is revoked": Happening(
        about="and this is the last good version", cells={"Replaced": Cell(to="Approved", live=THIS)}
    ),
    "adopted": Happening(
        about="nothing was ever live here",
        cells={
            **dict.fromkeys(
                ("Unregistered", "Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn"),
                Cell(to="Approved", registry=APPROVED, live=THIS),
            ),
            "Revoked": REFUSED,
        },
    ),
    "adopted, late": Happening(about="something is or was live here", cells={"Unregistered": REFUSED}, other=REFUSED),
    "approved without the tick": Happening(
        about="it was set to Rejected outside, or a run failed a gate since an earlier vote; with the tick, it is `approved`",
        cells={"Pending": REFUSED},
    ),
    "approved, changed since": Happening(
        about="the registry has another image, model data or setting than was reviewed for an environment before",
        cells={"Pending": REFUSED},
    ),
    "approved, deleted": Happening(
        about="the package is no longer in the registry, as a page and a decision find out themselves",
        cells={"Pending": REFUSED},
    ),
    "deleted": Happening(
        about="from the registry, while it waits for approval here; it stays as it is in every other environment",
        cells={"Pending": Cell(mails=("approvers", "requester"))},
    ),
    "package changed": Happening(
        about="another image, model data or setting in the registry, before any approval: votes are void, the request says why",
        cells={
            "Pending": Cell(mails=("approvers",), registry=PENDING),
            **dict.fromkeys(("Waiting", "Superseded", "Rejected", "Expired", "Withdrawn"), RECORDED),
        },
    ),
    "package changed, approved": Happening(
        about="the same after an approval: the live parameter keeps what was approved",
        cells=dict.fromkeys(REGISTERED, Cell(mails=("everybody",))),
    ),
    "package set back": Happening(about="to what was approved", cells=dict.fromkeys(REGISTERED, RECORDED)),
    "described anew": Happening(
        about="other metadata, description or model card in the registry: the page shows both values",
        cells={"Revoked": NOTHING},
        other=RECORDED,
    ),
    "set to Approved outside": Happening(
        about='in the registry; `bypass = "revert"`',
        cells=dict.fromkeys(
            ("Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn", "Revoked"), OUTSIDE
        ),
    ),
    "set to Rejected outside": Happening(
        about="in the registry; it stays so",
        cells=dict.fromkeys(
            ("Waiting", "Pending", "Approved", "Replaced", *CLOSED),
            Cell(mails=("approvers of every environment",), registry=REJECTED),
        ),
    ),
}


def cell(event: str, state: str) -> Cell | None:
    """Return the effect of an event in a state; None if it can't happen."""
    happening = EVENTS[event]
    found = happening.cells.get(state)
    return found if found is not None or state == "Unregistered" else happening.other


def cells() -> Iterator[tuple[str, str]]:
    """Event and state of every cell."""
    return ((event, state) for event in EVENTS for state in STATES if cell(event, state) is not None)


def page() -> str:
    """docs/lifecycle.md."""
    lines = [INTRODUCTION, *(f"| {name} | {about} |" for name, about in STATES.items())]
    for event, happening in EVENTS.items():
        lines += ["", f"## {event}", "", f"{happening.about[0].upper()}{happening.about[1:]}.", "", HEAD]
        groups: dict[Cell, list[str]] = {}
        for state in STATES:
            if (found := cell(event, state)) is not None:
                groups.setdefault(found, []).append(state)
        lines += [_row(states, found) for found, states in groups.items()]
    return "\n".join(lines) + "\n"


def _row(states: list[str], found: Cell) -> str:
    after = f"{found.to}" if found.to else "refused" if found.refused else "as before"
    if not found.to and not found.refused:
        after += ", recorded" if found.recorded else ", nothing is recorded"
    said = (", ".join(states), after, ", ".join(found.mails), found.registry, found.live)
    return f"| {' | '.join(said)} |"


HEAD = "| state before | state after | mails to | `ModelApprovalStatus` | live parameter |\n|---|---|---|---|---|"
INTRODUCTION = """# The life of a version

Written by `python -m tools.lifecycle`; `tests/rules/test_lifecycle.py` walks every cell of these tables on the service.

A version has one state in each environment. The fields of `CustomerMetadataProperties` have it under the name of the environment,
the live parameter has the version that is Approved. `ModelApprovalStatus` is one for all environments: only what happens in the
first environment changes it, and revoking, adopting and what somebody sets outside this service; an empty column leaves it as it
was. It stays `Approved` once a version was approved anywhere: a rejection or a request after that changes the environment's field
alone. An empty column of mails means that nobody is told. What is refused writes nothing. With `[advanced.mail] settle`, a mail
about a request that follows another within that time goes out later, and not at all where the request is over by then; several
come as one digest.

A request that a person or time closed is opened by a person alone: runs add evidence and open nothing.

| state | meaning |
|---|---|"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
