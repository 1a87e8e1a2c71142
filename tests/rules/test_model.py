"""Random lives of models, against a small reference that knows only what must hold.

Hypothesis registers, votes, measures, rolls back, revokes, adopts, lets time pass, bypasses and kills projections, over several
groups, versions and environments; every invariant of this file is checked after each step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from promotion import names
from promotion.domain.model import registry_status
from promotion.domain.people import Person
from promotion.errors import PromotionError
from promotion.ledger.chain import read_chain
from promotion.ledger.events import Event, check_chain
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows import decisions, operations
from promotion.workflows.projector import Target
from tests.fakes import ANN, BEN, CHO, DAN, GIL, OPERATOR, PREFIX, FakeService, a_package

GROUPS = ("news", "fraud")
ORDER = ("dev", "test", "prod")
QUORUM = {"dev": 1, "test": 1, "prod": 2}
APPROVERS = {name: f"{name}-approvers" for name in ORDER}
PEOPLE = (ANN, BEN, CHO, DAN, GIL)

groups = st.sampled_from(GROUPS)
environments = st.sampled_from(ORDER)
people = st.sampled_from(PEOPLE)
versions = st.integers(1, 6)


class Dying:
    """A target in whose process somebody pulls the plug, before or after its work."""

    def __init__(self, target: Target, *, after: bool) -> None:
        self._target, self._after, self.one_by_one = target, after, target.one_by_one

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        if self._after:
            self._target.project(view, events)
        raise TimeoutError


class Lives(RuleBasedStateMachine):
    """`votes` and `admitted` are the reference: who said what to which request, and what ever came to be allowed where."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeService()
        self.newest = dict.fromkeys(GROUPS, 0)
        self.votes: dict[str, dict[str, str]] = {}
        self.glass: set[str] = set()
        self.admitted: set[tuple[str, int, str]] = set()
        self.revoked: set[tuple[str, int]] = set()
        self.runs = 0

    @initialize()
    def begin(self) -> None:
        for group in GROUPS:
            self.register(group)

    @rule(group=groups, rouge=st.sampled_from([0.3, 0.7, 0.9]))
    def register(self, group: str, rouge: float = 0.7) -> None:
        self.newest[group] += 1
        self.fake.register(self.newest[group], group, rouge=rouge)

    @rule(group=groups, version=versions)
    def is_told_again_of(self, group: str, version: int) -> None:
        if version <= self.newest[group]:
            before = self.fake.events(group)
            self.fake.register(version, group)
            assert self.fake.events(group) == before

    @rule(
        group=groups, environment=environments, person=people,
        verdict=st.sampled_from([names.APPROVED, names.APPROVED, names.APPROVED, names.REJECTED]),
        glass=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def vote(self, group: str, environment: str, person: Person, verdict: str, glass: bool) -> None:
        pending = self.fake.view(group).environment(environment).pending
        if pending is None:
            return
        asked = self.fake.asked(pending, environment, group)
        try:
            receipt = self.fake.decide(pending, environment, person, verdict, group=group, breaking_glass=glass)
        except PromotionError:
            return
        assert person.subject not in self.votes.get(asked, {}), "nobody votes twice"
        holds_glass = glass and "on-call" in person.groups
        assert APPROVERS[environment] in person.groups or (holds_glass and verdict == names.APPROVED)
        self.votes.setdefault(asked, {})[person.subject] = verdict
        enough = list(self.votes[asked].values()).count(names.APPROVED) >= QUORUM[environment]
        promoted = receipt.events[-1].kind == names.MODEL_PROMOTED
        assert promoted == (verdict == names.APPROVED and (enough or holds_glass))
        if promoted:
            self.admitted.add((group, pending, environment))

    @rule(group=groups, environment=environments, version=versions, person=people)
    def decide_on_an_old_link(self, group: str, environment: str, version: int, person: Person) -> None:
        state = self.fake.view(group).find_version(version)
        request = state.requests.get(environment) if state else None
        if request is None or request.state_at(self.fake.now) == "Pending":
            return
        before = self.fake.events(group)
        try:
            decisions.record_decision(request.id, person, names.APPROVED, "late", context=self.fake.context)
        except PromotionError:
            assert self.fake.events(group) == before
        else:
            raise AssertionError("a request that is closed was decided")

    @rule(group=groups, environment=environments, rouge=st.sampled_from([0.3, 0.7, 0.9]))
    def measure(self, group: str, environment: str, rouge: float) -> None:
        live = self.fake.live(environment, group)
        if live is not None:
            self.runs += 1
            self.fake.measure(live, environment, rouge, group=group, run=f"run-{self.runs}")

    @rule(group=groups, environment=environments, to=st.none() | versions, by=st.sampled_from([*PEOPLE, OPERATOR]))
    def roll_back(self, group: str, environment: str, to: int | None, by: Person) -> None:
        before = self.fake.live(environment, group)
        try:
            self.fake.roll_back(environment, to, by, group)
        except PromotionError:
            assert self.fake.live(environment, group) == before
            return
        live = self.fake.live(environment, group)
        assert live not in (None, before)
        assert to in (None, live)

    @precondition(lambda self: self.runs > 2)
    @rule(group=groups, version=versions, by=people)
    def revoke(self, group: str, version: int, by: Person) -> None:
        try:
            self.fake.revoke(version, by, group)
        except PromotionError:
            return
        self.revoked.add((group, version))

    @rule(group=groups, environment=environments)
    def adopt(self, group: str, environment: str) -> None:
        number = self.newest[group] + 1
        package = a_package(number, group)
        try:
            operations.adopt(package, environment, OPERATOR, "It served before.", context=self.fake.context)
        except PromotionError:
            return
        self.fake.sagemaker.packages[package.arn] = {"ModelApprovalStatus": names.APPROVED}
        self.newest[group] = number
        self.admitted.add((group, number, environment))

    @rule(group=groups, version=versions, status=st.sampled_from([names.APPROVED, names.REJECTED]))
    def bypass(self, group: str, version: int, status: str) -> None:
        if version > self.newest[group]:
            return
        self.fake.later(seconds=1)
        arn = a_package(version, group).arn
        self.fake.sagemaker.packages[arn]["ModelApprovalStatus"] = status
        operations.record_bypass(group, version, status, "eve", context=self.fake.context, at=self.fake.now)

    @rule(hours=st.sampled_from([1, 30, 80]))
    def time_passes(self, hours: int) -> None:
        self.fake.later(hours=hours)
        for state in list(self.fake.ledger.environments()):
            decisions.keep_time(state, context=self.fake.context)

    @rule(group=groups, environment=environments, by=people)
    def ask_again(self, group: str, environment: str, by: Person) -> None:
        for state in self.fake.ledger.versions(group):
            request = state.requests.get(environment)
            if request is not None and request.state != "Pending":
                try:
                    decisions.ask_again(request.id, by, "Something changed.", context=self.fake.context)
                except PromotionError:
                    continue
                return

    @rule(group=groups)
    def project(self, group: str) -> None:
        assert self.fake.project(group) == []

    @rule(group=groups, name=st.sampled_from(names.TARGETS), after=st.booleans())
    def die(self, group: str, name: names.TargetName, after: bool) -> None:
        dying = Dying(self.fake.targets[name], after=after and name != names.MAIL)
        self.fake.project(group, {**self.fake.targets, name: dying})

    @invariant()
    def only_what_was_approved_there_is_live(self) -> None:
        for group in GROUPS:
            for name, environment in self.fake.view(group).environments.items():
                if environment.live is not None:
                    assert (group, environment.live, name) in self.admitted
                    assert (group, environment.live) not in self.revoked
                    assert self.fake.status(environment.live, name, group) == names.APPROVED
                    assert environment.live not in environment.former

    @invariant()
    def nothing_skipped_an_environment(self) -> None:
        for event in (event for group in GROUPS for event in self.fake.events(group)):
            if event.kind == names.MODEL_PROMOTED and event.environment != "dev":
                assert event.version is not None
                before = ORDER[ORDER.index(str(event.environment)) - 1]
                assert (event.group, event.version, before) in self.admitted

    @invariant()
    def at_most_one_version_is_approved_where_it_is_live(self) -> None:
        for group in GROUPS:
            for name in ORDER:
                states = self.fake.ledger.versions(group)
                approved = [s.version for s in states if s.statuses.get(name) == names.APPROVED]
                live = self.fake.live(name, group)
                assert approved == ([live] if live is not None else [])

    @invariant()
    def the_chain_holds(self) -> None:
        for group in GROUPS:
            head, events = read_chain(self.fake.ledger, group)
            check_chain(events, head)

    def teardown(self) -> None:
        """Once everything is projected, all is as in the ledger, after any loss on the way."""
        for group in GROUPS:
            assert self.fake.project(group) == []
            for found in self.fake.verify(group):
                # What somebody rejected in the registry is told of and left so, until an operator repairs it.
                bypassed = [s.package.arn for s in self.fake.ledger.versions(group) if s.bypassed]
                assert found.difference.where in [f"{arn} ModelApprovalStatus" for arn in bypassed]
                assert found.repair is not None
                found.repair()
            assert self.fake.lines(group) == []
            for state in self.fake.ledger.versions(group):
                status = self.fake.sagemaker.packages[state.package.arn]["ModelApprovalStatus"]
                assert status == registry_status(state, "dev")
            for name in ORDER:
                value = self.fake.ssm.values.get(f"{PREFIX}/{group}/{name}/live")
                record = msgspec.json.decode(value) if value else {}
                assert record.get("model_package_version") == self.fake.live(name, group)
            sent = self.fake.mail.sent
            assert len(sent) == len(set(sent)), "no mail twice"


TestLives = Lives.TestCase
# `make faults` lives longer, and otherwise each time.
_EXAMPLES = os.environ.get("PROMOTION_MODEL_EXAMPLES")
TestLives.settings = settings(
    max_examples=int(_EXAMPLES or 60), stateful_step_count=40, derandomize=_EXAMPLES is None, deadline=None
)
