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
    "Waiting": "registered, but approval is not requested here yet; shown as `PendingManualApproval`",
    "Pending": "a request is open; shown as `PendingManualApproval`",
    "Approved": "live here",
    "Replaced": "was live here until a newer version went live; shown as `Superseded`",
    "Superseded": "its request was superseded by a newer version, or it came after a newer version",
    "Rejected": "an approver rejected its request, or it was registered as Rejected",
    "Expired": "its request expired without a decision",
    "Withdrawn": "its requester withdrew its request",
    "RolledBack": "was live here until somebody rolled back to an older version",
    "Revoked": "must not be used in any environment",
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
    "registered": Happening(about="approval for the first environment is requested", cells={"Unregistered": ASKED}),
    "registered, for later": Happening(
        about="the same, in each environment after the first; with `adopted`, in all other environments",
        cells={"Unregistered": Cell(to="Waiting")},
    ),
    "registered late": Happening(
        about="while a newer version is pending or live in the first environment",
        cells={"Unregistered": Cell(to="Superseded", mails=("requester",))},
    ),
    "told again": Happening(about="the same registration arrives again", other=NOTHING),
    "first run passes": Happening(
        about="a run in the environment before, where the version is live", cells={"Waiting": ASKED}
    ),
    "first run passes, changed since": Happening(
        about="the same, but the package is deleted, or has another image, model data or setting than the reviewed one",
        cells={"Waiting": STOPPED},
    ),
    "first run fails a gate": Happening(
        about="the same, but a gate of this environment fails", cells={"Waiting": STOPPED}
    ),
    "first run fails": Happening(about="the same, but the run has no result", cells={"Waiting": STOPPED}),
    "first run, late": Happening(
        about="while a newer version is pending or live here",
        cells={"Waiting": Cell(to="Superseded", mails=("requester",))},
    ),
    "run": Happening(
        about="another run in the environment before, with the same gate results, or another failed run",
        cells={"Waiting": RECORDED},
        other=RECORDED,
    ),
    "run fails": Happening(
        about="another run in the environment before, without a result, after a run with a result",
        other=Cell(mails=("requester",)),
    ),
    "run, gates pass now": Happening(
        about="the gates of the open request failed before", cells={"Pending": Cell(mails=("approvers",))}
    ),
    "run, gates fail now": Happening(
        about="the gates of the open request passed before", cells={"Pending": Cell(mails=("approvers", "requester"))}
    ),
    "approved, more needed": Happening(about="the quorum is not reached", cells={"Pending": RECORDED}, other=REFUSED),
    "approved": Happening(
        about="the quorum is reached",
        cells={"Pending": Cell(to="Approved", mails=("requester",), registry=APPROVED, live=THIS)},
        other=REFUSED,
    ),
    "approved against a gate": Happening(about="a gate of the request failed", cells={"Pending": REFUSED}),
    "approved out of order": Happening(
        about="the version is no longer approved for the environment before", cells={"Pending": REFUSED}
    ),
    "approved in a freeze": Happening(about="a freeze window of the environment is active", cells={"Pending": REFUSED}),
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
        about="by a person, while no newer version is pending or live",
        cells=dict.fromkeys(CLOSED, Cell(to="Pending", mails=("approvers",), registry=PENDING)),
        other=REFUSED,
    ),
    "asked again, late": Happening(
        about="while a newer version is pending or live",
        cells=dict.fromkeys(("Waiting", "Approved", "Replaced", "Revoked", *CLOSED), REFUSED),
    ),
    "half its time": Happening(
        about="half of the time until expiry has passed, without freeze windows; approvers who voted are not reminded",
        cells={"Pending": Cell(mails=("approvers",))},
    ),
    "half its time, stopped": Happening(
        about="the same, for a request that no approver may approve", cells={"Pending": RECORDED}
    ),
    "its time": Happening(
        about="the time until expiry has passed, without freeze windows",
        cells={"Pending": Cell(to="Expired", mails=("requester",))},
    ),
    "a newer one asks": Happening(
        about="approval of a version with a higher number is requested",
        cells={"Pending": Cell(to="Superseded", mails=("requester",))},
        other=NOTHING,
    ),
    "another goes live": Happening(
        about="a newer version is approved, adopted or rolled forward to",
        cells={
            "Approved": Cell(to="Replaced", live=OTHER),
            "Pending": Cell(to="Superseded", mails=("requester",)),
        },
        other=NOTHING,
    ),
    "rolled back to it": Happening(
        about="the version was live here",
        cells={
            "Approved": REFUSED,
            "Revoked": REFUSED,
            **dict.fromkeys(
                ("Pending", "Replaced", *CLOSED), Cell(to="Approved", mails=("approvers", "requester"), live=THIS)
            ),
        },
    ),
    "rolled back to it, never live": Happening(
        about="the version was never live here",
        cells=dict.fromkeys(
            ("Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn", "Revoked"), REFUSED
        ),
    ),
    "rolled back from it": Happening(
        about="to an older version", cells={"Approved": Cell(to="RolledBack", live=OTHER)}
    ),
    "revoked": Happening(
        about="in all environments at once",
        cells={
            "Unregistered": REFUSED,
            "Revoked": REFUSED,
            "Approved": Cell(to="Revoked", mails=("everybody",), registry=REJECTED, live=OTHER),
        },
        other=Cell(to="Revoked", mails=("everybody",), registry=REJECTED),
    ),
    "what was live is revoked": Happening(
        about="this is the last good version", cells={"Replaced": Cell(to="Approved", live=THIS)}
    ),
    "adopted": Happening(
        about="no version was ever live here",
        cells={
            **dict.fromkeys(
                ("Unregistered", "Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn"),
                Cell(to="Approved", registry=APPROVED, live=THIS),
            ),
            "Revoked": REFUSED,
        },
    ),
    "adopted, late": Happening(about="a version is or was live here", cells={"Unregistered": REFUSED}, other=REFUSED),
    "approved without the tick": Happening(
        about="no confirmation, though it was set to Rejected outside, or failed a gate since an earlier vote; else `approved`",
        cells={"Pending": REFUSED},
    ),
    "approved, changed since": Happening(
        about="the registry has another image, model data or setting than was reviewed for an environment before",
        cells={"Pending": REFUSED},
    ),
    "approved, deleted": Happening(
        about="the package is no longer in the registry; pages and decisions check that",
        cells={"Pending": REFUSED},
    ),
    "deleted": Happening(
        about="from the registry, while its approval is pending here; other environments are not affected",
        cells={"Pending": Cell(mails=("approvers", "requester"))},
    ),
    "package changed": Happening(
        about="another image, model data or setting before any approval; votes are void, and the request shows the reason",
        cells={
            "Pending": Cell(mails=("approvers",), registry=PENDING),
            **dict.fromkeys(("Waiting", "Superseded", "Rejected", "Expired", "Withdrawn"), RECORDED),
        },
    ),
    "package changed, approved": Happening(
        about="the same after an approval; the live parameter keeps the approved version",
        cells=dict.fromkeys(REGISTERED, Cell(mails=("everybody",))),
    ),
    "package set back": Happening(
        about="the approved image, model data and settings are restored", cells=dict.fromkeys(REGISTERED, RECORDED)
    ),
    "described anew": Happening(
        about="other metadata, description or model card in the registry; the page shows both values",
        cells={"Revoked": NOTHING},
        other=RECORDED,
    ),
    "set to Approved outside": Happening(
        about='in the registry, with `bypass = "revert"`',
        cells=dict.fromkeys(
            ("Waiting", "Pending", "Superseded", "Rejected", "Expired", "Withdrawn", "Revoked"), OUTSIDE
        ),
    ),
    "set to Rejected outside": Happening(
        about="in the registry, where it stays",
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

A version has one state in each environment. The package's `CustomerMetadataProperties` have a field with the state for each
environment, and the environment's live parameter has the version that is Approved there.

`ModelApprovalStatus` is one value for all environments. It changes only by events in the first environment, by revoking, by
adopting, and by changes from outside this service; an empty cell means that it does not change. Once a version was approved
anywhere, it stays `Approved`: a later request or rejection changes only the environment's field.

An empty cell under mails means that no mail is sent. A refused event writes nothing. With `[advanced.mail] settle`, a mail about
a request that soon follows another is sent later, and not at all if the request is over by then; several such mails are sent as
one digest.

Only a person can open a request again that was closed by a person or by expiry. Runs add evidence, and open no request again.

| state | meaning |
|---|---|"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
