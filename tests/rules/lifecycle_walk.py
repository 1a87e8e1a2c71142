"""A walk over the table of docs/lifecycle.md: each step is a cell, done to the real service in memory and compared.

The oracle folds nothing of the service's: it keeps the state of each version in each environment as the table says it.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter

from promotion import names
from promotion.domain import policy
from promotion.errors import PromotionError
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.tokens import Keyring
from promotion.links.urls import Links
from promotion.rendering.documents.board import cell_document
from promotion.rendering.mail import letters
from promotion.workflows import decisions
from tests.fakes import GROUP, PREFIX, FailingOnce, a_package
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
    roles,
    state_of,
)
from tests.rules.lifecycle_steps import Step, Steps
from tools.lifecycle import Cell, cell, cells

STEPS_IN_A_GROUP = 100
LINKS = Links(base_url="https://promotion.example.com", keyring=Keyring(["a key for tests"]))


class Walk(Steps):
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

    # --- doing it

    def do(self, step: Step) -> None:
        """Do a step, and compare all that there is with the table."""
        fake, o = self.fake, self.oracle
        at = fake.view().head.sequence
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
        written = [event for event in fake.events() if event.sequence > at]
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
        fake, told = self.fake, Counter[tuple[int, str]]()
        for event in written:
            sent = letters(event, view=fake.view(), config=fake.config, links=LINKS, picture=lambda uri: None)
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
        fake, o = self.fake, self.oracle
        if self.random.random() < 0.1:
            choices: list[names.TargetName] = [names.REGISTRY, names.PARAMETERS, names.EVENTS]
            target = self.random.choice(choices)
            dying = FailingOnce(fake.targets[target], TimeoutError(), after=self.random.random() < 0.5)
            fake.project(targets={**fake.targets, target: dying})
        assert fake.project() == []
        view = fake.view()
        for version in o.versions:
            known = fake.sagemaker.packages.get(a_package(version).arn)
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
        self._cells(view)
        for name in ORDER:
            value = fake.ssm.values.get(f"{PREFIX}/{GROUP}/{name}/live")
            record = json.loads(value) if value else {}
            assert record.get("model_package_version") == view.environment(name).live == o.live[name], step.event

    def _cells(self, view: GroupSnapshot) -> None:
        """The board offers to ask again where the request's page does."""
        fake = self.fake
        for name, state in view.environments.items():
            rules = fake.config.environment(name, GROUP)
            shown = cell_document(state, name, rules, LINKS, fake.now)
            asked = [(shown["pending"], state.pending_id), (shown["closed"], state.closed and state.closed.request_id)]
            for row, request in asked:
                if row is not None and request:
                    found = decisions.situation(view, request, context=fake.context)
                    assert row["again"] == policy.may_be_asked_again(found).may, (name, request, row)

    def finish(self) -> None:
        """Check that all is as in the ledger, except statuses set outside and deleted versions."""
        gone = tuple(a_package(version).arn for version in self.oracle.gone)
        outside = {f"{a_package(v).arn} ModelApprovalStatus" for v in self.oracle.versions}
        found = {each.difference.where for each in self.fake.verify()}
        assert {where for where in found if not (gone and where.startswith(gone))} <= outside
