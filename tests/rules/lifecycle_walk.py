"""A walk over the table of docs/lifecycle.md: each step is a cell, done to the real service in memory and compared.

The oracle folds nothing of the service's: it keeps the state of each version in each environment as the table says it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from promotion import names
from promotion.errors import PromotionError
from promotion.ledger.events import Event
from promotion.links.tokens import Keyring
from promotion.links.urls import Links
from promotion.rendering.mail import letters
from promotion.workflows import decisions
from tests.fakes import ANN, BEN, CHO, DAN, GROUP, PREFIX, FailingOnce, a_package
from tests.rules.lifecycle_acts import Acts
from tests.rules.lifecycle_oracle import (
    ALL_APPROVERS,
    EVERYBODY,
    FIRST,
    LEADS_TO,
    ORDER,
    PRELUDE,
    REVOKED,
    WEIGHTS,
    Place,
    before_of,
    roles,
    state_of,
)
from tools.lifecycle import CLOSED, Cell, cell, cells

QUORUM = {"dev": 1, "test": 1, "prod": 2}
MOST_VERSIONS = 7
STEPS_IN_A_GROUP = 100
LINKS = Links(base_url="https://promotion.example.com", keyring=Keyring(["a key for tests"]))


@dataclass
class Step:
    """One thing that can be done now: its event, its place, how it is done, and its cells in other places."""

    event: str
    place: Place
    act: Callable[[], object]
    beside: list[tuple[str, Place]] = field(default_factory=list)
    after: Callable[[], None] = lambda: None


class Walk(Acts):
    """Walks at random, and to cells that were not walked yet first."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.walked: Counter[tuple[str, str]] = Counter()
        self.left: dict[str, set[str]] = {}
        for event, state in cells():
            self.left.setdefault(state, set()).add(event)
        self.begin()

    def walk(self, steps: int, *, most: int = 0) -> Counter[tuple[str, str]]:
        """Walk `steps` steps, and up to `most` while there are cells that were not walked yet."""
        for number in itertools.count():
            if number >= steps and (number >= most or not any(self.left.values())):
                break
            if number and number % STEPS_IN_A_GROUP == 0:
                self.finish()
                self.begin()
            prelude = ((), PRELUDE, REVOKED)[number // STEPS_IN_A_GROUP % 3]
            at = number % STEPS_IN_A_GROUP
            wanted = [each for each in self.possible() if at < len(prelude) and (each.event, each.place) == prelude[at]]
            self.do(wanted[0]) if wanted else self.step()
        self.finish()
        return self.walked

    def step(self) -> None:
        found = list(self.possible())
        new = [step for step in found if any(self._credit(each) for each in [(step.event, step.place), *step.beside])]
        among = new if new and self.random.random() < 0.8 else found
        [step] = self.random.choices(among, [self._weight(each) for each in among])
        self.do(step)

    def _weight(self, step: Step) -> float:
        """A step counts for more if it leads to states of which many cells were not walked yet."""
        leads = [
            cell(event, self.oracle.state(*place)) for event, place in [(step.event, step.place), *step.beside] if event
        ]
        to = {found.to for found in leads if found is not None and found.to}
        weight = WEIGHTS.get(step.event, 1)
        if step.event in self.left.get(self.oracle.state(*step.place), ()):
            weight = max(weight, 5)
        states = {self.oracle.state(*place) for _, place in [(step.event, step.place), *step.beside]}
        if any(event in self.left.get(state, ()) for state in states for event in LEADS_TO.get(step.event, ())):
            weight = max(weight, 8)
        return weight * (1 + sum(len(self.left.get(state, ())) for state in to))

    def _credit(self, place: tuple[str, Place]) -> bool:
        event, (version, name) = place
        return self.walked[event, self.oracle.state(version, name)] == 0

    # --- what can happen now

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
        yield Step("revoked", (newest + 1, FIRST), partial(self.house.revoke, newest + 1))

    def _time(self) -> Step:
        hours = self.random.choice([1, 20, 37, 73])
        later = self.house.now + timedelta(hours=hours)
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
            self.house.now = later
            for name in ORDER:
                decisions.keep_time(self.house.view().environment(name), world=self.house.world)

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
                if told is not None and self.house.now - told < timedelta(days=1):
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
        elif pending and o.frozen(name, self.house.now):
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
        asks = not late and o.state(version, name) in CLOSED
        beside = self._others(version, name, "a newer one asks", older=True) if asks else []
        after = partial(self._asked, version, name) if asks else lambda: None
        event = "asked again, late" if late else "asked again"
        yield Step(event, place, partial(self._ask, version, name), beside, after)

    def _rolling(self, version: int, name: str) -> Iterator[Step]:
        place, o = (version, name), self.oracle
        act = partial(self.house.roll_back, name, version)
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
        yield Step("revoked", (version, FIRST), partial(self.house.revoke, version), beside, after)

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

    # --- doing it

    def do(self, step: Step) -> None:
        """Do a step, and compare all that there is with the table."""
        house, o = self.house, self.oracle
        at = house.view().head.sequence
        expected = [
            (event, place, cell(event, o.state(*place)))
            for event, place in [(step.event, step.place), *step.beside]
            if event
        ]
        refused = False
        try:
            step.act()
        except PromotionError:
            refused = True
        written = [event for event in house.events() if event.sequence > at]
        for event, place, found in expected:
            assert found is not None, f"{event} in {o.state(*place)} is no cell of the table"
            self.walked[event, o.state(*place)] += 1
            self.left[o.state(*place)].discard(event)
        main = expected[0][2] if expected else None
        if main is not None:
            assert refused == main.refused, (step.event, o.state(*step.place), refused)
            assert bool(written) == main.recorded, (step.event, o.state(*step.place), [e.kind for e in written])
        for _, place, found in expected:
            if found is not None and found.to:
                o.states[place] = found.to
            if found is not None and found.registry and place[1] in (FIRST, self._of(step, place)):
                self._registry(step.event, place, found)
        if not refused:
            step.after()
        self._mails(written, expected)
        self._compare(step)

    def _of(self, step: Step, place: Place) -> str:
        """Revoking, adopting and what is set outside concern all environments."""
        return place[1] if step.event in ("revoked", "adopted") or "outside" in step.event else FIRST

    def _registry(self, event: str, place: Place, found: Cell) -> None:
        kept = place[0] in self.oracle.approved and event in ("rejected", "asked again")
        if not kept:
            self.oracle.registry[place[0]] = found.registry

    def _mails(self, written: list[Event], expected: list[tuple[str, Place, Cell | None]]) -> None:
        house, told = self.house, Counter[tuple[int, str]]()
        for event in written:
            sent = letters(event, view=house.view(), config=house.config, links=LINKS, picture=lambda uri: None)
            people = [{*letter.to, *letter.cc} for letter in sent if letter.to]
            if event.environment is None and people:
                people = [set().union(*people)]
            told.update((event.version or 0, role) for each in people for role in roles(each, event))
        wanted = Counter[tuple[int, str]]()
        for version in {place[0] for _, place, _ in expected}:
            for _, place, found in expected:
                if place[0] == version and found is not None:
                    wanted.update({(version, role): 1 for role in found.mails} if found.mails else {})
        whole = {key: 1 if key[1] in (EVERYBODY, ALL_APPROVERS) else number for key, number in wanted.items()}
        assert dict(told) == whole, ([e[:2] for e in expected], told, whole)

    def _compare(self, step: Step) -> None:
        """States, registry and parameters, after projections of which some died on the way."""
        house, o = self.house, self.oracle
        if self.random.random() < 0.1:
            choices: list[names.TargetName] = [names.REGISTRY, names.PARAMETERS, names.EVENTS]
            target = self.random.choice(choices)
            dying = FailingOnce(house.targets[target], TimeoutError(), after=self.random.random() < 0.5)
            house.project(targets={**house.targets, target: dying})
        assert house.project() == []
        view = house.view()
        for version in o.versions:
            known = house.sagemaker.packages.get(a_package(version).arn)
            assert (known is None) == (version in o.gone)
            for name in ORDER:
                found = state_of(view, version, name)
                assert found == o.state(version, name), (
                    step.event,
                    step.place,
                    version,
                    name,
                    found,
                    o.state(version, name),
                )
                assert (
                    known is None or known["CustomerMetadataProperties"][name] == view.version(version).statuses[name]
                )
            assert known is None or known["ModelApprovalStatus"] == o.registry[version], (
                step.event,
                step.place,
                version,
            )
        for name in ORDER:
            value = house.ssm.values.get(f"{PREFIX}/{GROUP}/{name}/live")
            record = json.loads(value) if value else {}
            assert record.get("model_package_version") == view.environment(name).live == o.live[name], step.event

    def finish(self) -> None:
        """Whatever was set outside or deleted apart, everything is as the ledger says."""
        gone = tuple(a_package(version).arn for version in self.oracle.gone)
        outside = {f"{a_package(v).arn} ModelApprovalStatus" for v in self.oracle.versions}
        found = {each.difference.where for each in self.house.verify()}
        assert {where for where in found if not (gone and where.startswith(gone))} <= outside
