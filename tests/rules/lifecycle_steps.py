"""The steps of a walk over docs/lifecycle.md that can be done now, each with the cells that it touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from promotion import names
from promotion.workflows import decisions
from tests.fakes import ANN, BEN, CHO, DAN
from tests.rules.lifecycle_acts import Acts
from tests.rules.lifecycle_oracle import (
    FIRST,
    ORDER,
    Place,
    before_of,
)
from tools.lifecycle import CLOSED

QUORUM = {"dev": 1, "test": 1, "prod": 2}
MOST_VERSIONS = 7


@dataclass
class Step:
    """One thing that can be done now: its event, its place, how it is done, and its cells in other places."""

    event: str
    place: Place
    act: Callable[[], object]
    beside: list[tuple[str, Place]] = field(default_factory=list)
    after: Callable[[], None] = lambda: None


class Steps(Acts):
    """An installation that lists its next steps."""

    def possible(self) -> Iterator[Step]:
        yield from self._registrations()
        yield self._time()
        for version in self.oracle.versions:
            yield from self._revocation(version)
            if version not in self.oracle.gone:
                again = self._all(version, "told again")
                yield Step("told again", (version, FIRST), partial(self._register, version), again)
                yield from self._outside(version)
                yield from self._changes(version)
                yield from self._deleting(version)
            for name in ORDER:
                yield from self._decisions(version, name)
                yield from self._asking(version, name)
                yield Step("withdrawn", (version, name), partial(self._withdraw, version, name))
                yield from self._rolling(version, name)
                yield from self._adopting(version, name)
                if name != FIRST:
                    yield from self._running(version, name)

    def _registrations(self) -> Iterator[Step]:
        newest = max(self.oracle.versions, default=0)
        numbers = [newest + 1, newest + 2] if newest < MOST_VERSIONS else []
        for version in (*numbers, *self.gaps):
            late = self.oracle.newer_there(version, FIRST)
            event = "registered late" if late else "registered"
            beside = [] if late else self._others(version, FIRST, "a newer one asks", older=True)
            later = [("registered, for later", (version, name)) for name in ORDER[1:]]
            yield Step(event, (version, FIRST), partial(self._register, version), [*beside, *later],
                       partial(self._registered, version, newest, asks=not late))  # fmt: skip
            if newest < MOST_VERSIONS:
                yield from self._adopting(version, self.random.choice(ORDER))
        yield Step("revoked", (newest + 1, FIRST), partial(self.fake.revoke, newest + 1))

    def _time(self) -> Step:
        hours = self.random.choice([1, 20, 37, 73])
        later = self.fake.now + timedelta(hours=hours)
        beside: list[tuple[str, Place]] = []
        for name in ORDER:
            if (version := self.oracle.pending(name)) is None:
                continue
            waited = self.oracle.waited(self.oracle.asked[version, name], later, name)
            if waited >= timedelta(hours=72):
                beside.append(("its time", (version, name)))
            elif waited >= timedelta(hours=36) and (version, name) not in self.oracle.reminded:
                passed = name == FIRST or self.oracle.state(version, before_of(name)) in ("Approved", "Replaced")
                passed = passed and version not in self.oracle.changed | self.oracle.gone
                passed = passed and not self.oracle.frozen(name, later)
                half = "half its time" if passed and self.oracle.passes[version, name] else "half its time, stopped"
                beside.append((half, (version, name)))
        first, *others = beside or [("", (0, FIRST))]

        def act() -> None:
            self.fake.now = later
            for name in ORDER:
                decisions.keep_time(self.fake.view().environment(name), context=self.fake.context)

        return Step(
            *first, act, others, lambda: self.oracle.reminded.update(p for e, p in beside if e.startswith("half"))
        )

    def _running(self, version: int, name: str) -> Iterator[Step]:
        before = before_of(name)
        place, state = (version, name), self.oracle.state(version, name)
        for verdict in (True, False, None):
            anew = verdict is None and (version, before) not in self.oracle.failed
            event = "run fails" if anew else "run"
            asks = state == "Waiting" and self.oracle.state(version, before) == "Approved"
            late = asks and self.oracle.newer_there(version, name)
            if (late and anew) or (asks and verdict is None and not anew):
                continue
            if late:
                event = "first run, late"
            elif asks:
                event = {True: "first run passes", False: "first run fails a gate", None: "first run fails"}[verdict]
                if verdict and version in self.oracle.changed | self.oracle.gone:
                    event = "first run passes, changed since"
            elif state == "Pending" and verdict is not None and verdict != self.oracle.passes[place]:
                told = self.oracle.told.get(place)
                if told is not None and self.fake.now - told < timedelta(days=1):
                    continue
                event = "run, gates pass now" if verdict else "run, gates fail now"
            beside = self._others(version, name, "a newer one asks", older=True) if asks and not late else []
            yield Step(event, place, partial(self._measure, version, before, verdict), beside,
                       partial(self._ran, version, name, before, verdict, event))  # fmt: skip

    def _decisions(self, version: int, name: str) -> Iterator[Step]:
        place, o = (version, name), self.oracle
        pending = o.state(version, name) == "Pending"
        voter = (ANN, CHO)[min(o.votes.get(place, 0), 1)]
        complete = o.votes.get(place, 0) + 1 >= QUORUM[name]
        event, beside, after = "approved" if complete else "approved, more needed", [], lambda: None
        if pending and version in o.gone:
            event = "approved, deleted"
        elif pending and version in o.changed:
            event = "approved, changed since"
        elif pending and name != FIRST and o.state(version, before_of(name)) not in ("Approved", "Replaced"):
            event = "approved out of order"
        elif pending and o.frozen(name, self.fake.now):
            event = "approved in a freeze"
        elif pending and not o.passes[place]:
            event = "approved against a gate"
        elif pending:
            if o.wants_tick(version, name):
                yield Step(
                    "approved without the tick", place, partial(self._vote, version, name, voter, names.APPROVED)
                )
            beside = self._others(version, name, "another goes live") if complete else []
            after = partial(self._voted, version, name, complete=complete)
        # Of a request that is closed it is the same vote, whatever it would have been.
        for said in (event,) if pending else ("approved", "approved, more needed"):
            act = partial(self._vote, version, name, voter, names.APPROVED, confirmed=o.wants_tick(version, name))
            yield Step(said, place, act, beside, after)
        yield Step(
            "rejected", place, partial(self._vote, version, name, DAN if name == "prod" else BEN, names.REJECTED)
        )

    def _asking(self, version: int, name: str) -> Iterator[Step]:
        place, o = (version, name), self.oracle
        late = o.newer_there(version, name)
        if place not in o.asked and o.state(version, name) in CLOSED:
            return  # adopted and rolled back: it never had a request
        if version in o.gone:
            return  # refused whatever its state is: tests/rules/test_requesters_told.py
        asks = not late and o.state(version, name) in CLOSED
        beside = self._others(version, name, "a newer one asks", older=True) if asks else []
        after = partial(self._asked, version, name) if asks else lambda: None
        event = "asked again, late" if late else "asked again"
        yield Step(event, place, partial(self._ask, version, name), beside, after)

    def _rolling(self, version: int, name: str) -> Iterator[Step]:
        place, o = (version, name), self.oracle
        act = partial(self.fake.roll_back, name, version)
        if place not in o.was_live:
            yield Step("rolled back to it, never live", place, act)
            return
        if version not in o.former[name]:
            yield Step("rolled back to it", place, act)
            return
        before = o.live[name]
        back = before is not None and before > version
        beside = [("rolled back from it", (before, name))] if before is not None and back else []
        rest = [each for each in self._others(version, name, "another goes live") if not back or each[1][0] != before]
        # Going back, only what is older than the version gives way; its newer requests go on.
        rest = [each for each in rest if not (each[1][0] > version and o.state(*each[1]) == "Pending")]
        yield Step("rolled back to it", place, act, [*beside, *rest], partial(o.goes_live, version, name, back=back))

    def _adopting(self, version: int, name: str) -> Iterator[Step]:
        place, o = (version, name), self.oracle
        if version in o.gone:
            return
        if name in o.ever_live:
            yield Step("adopted, late", place, partial(self._adopt, version, name))
            return
        if o.state(version, name) == "Revoked":
            yield Step("adopted", place, partial(self._adopt, version, name))
            return
        new = o.state(version, name) == "Unregistered"
        rest = [("registered, for later", (version, other)) for other in ORDER if other != name] if new else []
        beside = [e for e in self._others(version, name, "another goes live") if e[1][0] < version]

        def after() -> None:
            o.goes_live(version, name)
            o.registry[version] = names.APPROVED
            o.outside.discard(version)
            self._numbered(version)

        yield Step("adopted", place, partial(self._adopt, version, name), [*beside, *rest], after)

    def _revocation(self, version: int) -> Iterator[Step]:
        o = self.oracle
        beside = [("revoked", (version, name)) for name in ORDER[1:]]
        after = lambda: None  # noqa: E731
        if o.state(version, FIRST) != "Revoked":
            falls = {name: o.last_good(name, version) for name in ORDER if o.live[name] == version}
            beside += [("what was live is revoked", (v, name)) for name, v in falls.items() if v is not None]
            after = partial(self._revoked, version, falls)
        yield Step("revoked", (version, FIRST), partial(self.fake.revoke, version), beside, after)

    def _outside(self, version: int) -> Iterator[Step]:
        for status in (names.APPROVED, names.REJECTED):
            ledger = self.oracle.ledger_says(version)
            if status in (self.oracle.registry[version], ledger):
                continue
            event = f"set to {status} outside"
            then = status if status == names.REJECTED else ledger
            after = partial(self._was_set_outside, version, then, rejected=status == names.REJECTED)
            act = partial(self._set_outside, version, status)
            yield Step(event, (version, FIRST), act, [(event, (version, name)) for name in ORDER[1:]], after)

    def _changes(self, version: int) -> Iterator[Step]:
        o = self.oracle
        yield Step(
            "described anew",
            (version, FIRST),
            partial(self._change, version, 0, 1),
            self._all(version, "described anew"),
        )
        if o.state(version, FIRST) == "Revoked":
            return
        event, image, after = "package changed", 1, lambda: None
        if version in o.approved:
            back = version in o.changed
            event, image = ("package set back", -1) if back else ("package changed, approved", 1)
            after = partial((o.changed.discard if back else o.changed.add), version)
        elif o.state(version, FIRST) == "Pending":
            after = partial(self._asked, version, FIRST)
        yield Step(event, (version, FIRST), partial(self._change, version, image, 0), self._all(version, event), after)

    def _deleting(self, version: int) -> Iterator[Step]:
        waits = [name for name in ORDER if self.oracle.state(version, name) == "Pending"]
        if len(waits) == 1:
            after = partial(self.oracle.gone.add, version)
            yield Step("deleted", (version, waits[0]), partial(self._delete, version), after=after)

    def _all(self, version: int, event: str) -> list[tuple[str, Place]]:
        return [(event, (version, name)) for name in ORDER[1:]]

    def _others(self, version: int, name: str, event: str, *, older: bool = False) -> list[tuple[str, Place]]:
        return [(event, (v, name)) for v in self.oracle.versions if v != version and not (older and v > version)]
