"""Reminders, expiries and superseded requests of a short time, as one mail to each recipient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.formatting import counted
from promotion.links.urls import Links
from promotion.rendering.mails.layout import Letter, Message, written

# Kinds of events whose mails are delayed and joined in a digest.
KINDS = (names.APPROVER_REMINDED, names.REQUEST_EXPIRED, names.REQUEST_SUPERSEDED)
MOST_ENTRIES = 30
SAID = {
    names.APPROVER_REMINDED: ("is still pending", "are still pending"),
    names.REQUEST_EXPIRED: ("expired", "expired"),
    names.REQUEST_SUPERSEDED: ("was superseded", "were superseded"),
}
Key = tuple[str, int]


class Waits(Struct, frozen=True, kw_only=True):
    """An event with delayed mail: its letters, its recipients so far, and whether it is mailed only in a digest."""

    kind: str
    letters: Sequence[Letter]
    told: Sequence[str] = ()
    never_alone: bool = False


def digests(waiting: Mapping[Key, Waits], links: Links, now: datetime) -> list[tuple[Message, tuple[Key, ...]]]:
    """Return the mails about `waiting`, by group and sequence, each with its events.

    Recipients of the same events share a mail; a recipient of a single event gets its usual mail.
    """
    told: dict[str, dict[Key, Letter]] = {}
    for key, waits in waiting.items():
        for letter in waits.letters:
            for address in (*letter.to, *letter.cc):
                if address not in waits.told:
                    told.setdefault(address, {})[key] = letter
    alike: dict[tuple[Key, ...], list[str]] = {}
    for address, found in told.items():
        alike.setdefault(tuple(sorted(found)), []).append(address)
    made = []
    for keys, people in alike.items():
        found = {key: told[people[0]][key] for key in keys}
        to = tuple(people)
        if len(keys) == 1 and waiting[keys[0]].never_alone:
            continue
        name = hashlib.sha256(repr((keys, to)).encode()).hexdigest()[:32]
        if len(keys) == 1:
            letter = replace(found[keys[0]], to=to, cc=())
        else:
            letter = _digest({key: (waiting[key].kind, found[key]) for key in keys}, to, links)
        made.append((written(letter, thread=name, message_id=f"{name}.digest", date=now), keys))
    return made


def _digest(found: Mapping[Key, tuple[str, Letter]], to: tuple[str, ...], links: Links) -> Letter:
    kinds = [kind for kind, _ in found.values()]
    parts = [f"{kinds.count(kind)} {said[kinds.count(kind) > 1]}" for kind, said in SAID.items() if kind in kinds]
    groups = sorted({group for group, _ in found})
    of = f" of {groups[0]}" if len(groups) == 1 else ""
    what = f"{counted(len(kinds), 'request')}{of}"
    title = f"{what} {SAID[kinds[0]][1]}" if len(parts) == 1 else f"{what}: {', '.join(parts)}"
    entries = [(letter.subject, letter.action[1]) for _, letter in found.values()]
    more = len(entries) - MOST_ENTRIES
    return Letter(
        to=to,
        subject=title,
        tone="ask" if names.APPROVER_REMINDED in kinds else "calm",
        eyebrow="Requests for approval",
        headline=title,
        intro=["Each has its own page."] if more <= 0 else [f"Each has its own page; {more} more are on the board."],
        action=("Open the board", links.board()),
        entries=entries[:MOST_ENTRIES],
        why="You receive this because you are an approver of these environments, or registered these versions.",
    )
