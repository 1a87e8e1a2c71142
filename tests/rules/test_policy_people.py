"""Who may decide what, told as small stories, and as laws that hold for anybody in any state."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config, parse
from promotion.domain import policy
from promotion.domain.people import Actor, Person, Requester
from promotion.domain.request_ids import request_id
from promotion.errors import AlreadyDecided, PromotionError, Refused
from promotion.workflows import decisions, operations
from tests.rules.stage import ANN, AUD, CHO, CONFIG, DEE, GIL, GROUP, Stage, measured, registered

BEN = Person(subject="ben", name="Ben", email="ben@example.com", groups=frozenset({"ml-dev", "ml-test"}))
EVE = Person(subject="eve", name="Eve", email="eve@example.com")
DEE_SIGNED_IN = Person(
    subject="auth0|dee", name="Dee", email="Dee@Example.com", groups=frozenset({"ml-dev", "ml-prod"})
)
# In the approvers' group and on call.
BOTH = Person(
    subject="both", name="Both", email="both@example.com", groups=frozenset({"ml-dev", "ml-prod", "ml-oncall"})
)
EVERYBODY = (ANN, BEN, CHO, AUD, GIL, EVE, DEE_SIGNED_IN, BOTH)


def judged(
    stage: Stage,
    person: Person,
    verdict: names.Verdict = names.APPROVED,
    *,
    glass: bool = False,
    environment: str = "dev",
) -> policy.Judgement:
    asked = stage.view.version(1).requests[environment].id
    return policy.may_decide(
        person, verdict, decisions.situation(stage.view, asked, world=stage.world), breaking_glass=glass
    )


def registered_stage(config: Config = CONFIG, **about: Any) -> Stage:
    stage = Stage(config)
    stage.registers(1, **about)
    return stage


def changed(config: Config, environment: str, **changes: Any) -> Config:
    """A configuration in which one environment is otherwise."""
    environments = tuple(replace(e, **changes) if e.name == environment else e for e in config.environments)
    return replace(config, environments=environments)


class TestGroups:
    @pytest.mark.parametrize("person", [CHO, AUD, EVE, GIL], ids=lambda person: person.subject)
    @pytest.mark.parametrize("verdict", names.VERDICTS)
    def test_who_is_not_in_the_group_decides_nothing(self, person: Person, verdict: names.Verdict) -> None:
        judgement = judged(registered_stage(), person, verdict)
        assert (judgement.may, judgement.code) == (False, "not_approver")
        assert judgement.who_may == "Members of ML approvers, dev may decide."

    def test_groups_count_by_id_and_not_by_name(self) -> None:
        named_alike = replace(EVE, groups=frozenset({"ML approvers, dev", "ML-DEV", "ml-dev "}))
        assert not judged(registered_stage(), named_alike).may

    def test_an_override_of_the_group_counts_for_its_pattern_alone(self) -> None:
        config = parse(_toml('[groups_override."news-*".environments.dev]\napprover_group = { id = "ml-news" }'))
        editor = replace(EVE, groups=frozenset({"ml-news"}))
        assert judged(registered_stage(config), editor).may
        assert not judged(registered_stage(config), ANN).may
        assert policy.may_read(editor, config)


class TestQuorum:
    def test_two_different_people_are_needed(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        stage.decides("prod", 1, by=ANN)
        assert stage.view.environment("prod").live is None
        again = judged(stage, ANN, environment="prod")
        assert (again.may, again.kind, again.code) == (False, "state", "voted")
        stage.decides("prod", 1, by=CHO)
        assert stage.view.environment("prod").live == 1

    def test_the_same_person_under_another_subject_is_the_same_person(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        stage.decides("prod", 1, by=ANN)
        twin = replace(ANN, subject="ann-again", email="ANN@example.com")
        assert judged(stage, twin, environment="prod").code == "voted"

    def test_one_rejection_decides_whatever_was_approved(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        stage.decides("prod", 1, by=ANN)
        stage.decides("prod", 1, "Rejected", by=CHO)
        assert stage.view.version(1).requests["prod"].state == "Rejected"
        with pytest.raises(AlreadyDecided):
            stage.decides("prod", 1, by=BOTH)


class TestRequesters:
    def test_nobody_approves_their_own_model_and_anybody_may_reject_it(self) -> None:
        stage = registered_stage()
        own = judged(stage, DEE_SIGNED_IN)
        assert (own.may, own.code) == (False, "own_model")
        assert "Another member of ML approvers, dev" in own.who_may
        assert judged(stage, DEE_SIGNED_IN, names.REJECTED).may

    def test_a_broken_glass_does_not_make_it_theirs_to_approve(self) -> None:
        on_call = replace(DEE_SIGNED_IN, groups=frozenset({"ml-oncall", "ml-dev"}))
        assert judged(registered_stage(), on_call, glass=True).code == "own_model"

    def test_a_profile_is_held_against_the_name_before_the_at(self) -> None:
        profile = Requester(actor=Actor(kind="requester", subject="Dee"), declared_by="identity")
        assert judged(registered_stage(requester=profile), DEE_SIGNED_IN).code == "own_model"
        assert judged(registered_stage(requester=profile), ANN).may

    def test_an_unknown_requester_stops_approval_and_says_the_remedy(self) -> None:
        judgement = judged(registered_stage(requester=None), ANN)
        assert (judgement.may, judgement.code) == (False, "requester_unknown")
        assert "requested_by" in judgement.who_may
        assert "requester_may_approve" in judgement.who_may
        assert judged(registered_stage(requester=None), ANN, names.REJECTED).may

    def test_where_requesters_may_approve_an_unknown_one_stops_nothing(self) -> None:
        config = changed(CONFIG, "dev", requester_may_approve=True)
        assert judged(registered_stage(config, requester=None), ANN).may
        assert judged(registered_stage(config), DEE_SIGNED_IN).may

    def test_who_only_says_so_is_shown_as_that(self) -> None:
        assert registered_stage().request("dev", 1)["package"]["requester"]["how"] == "self-declared"


class TestTheEnvironmentBefore:
    def test_its_approver_may_not_approve_the_next_where_that_is_asked_for(self) -> None:
        stage = Stage(changed(CONFIG, "test", previous_approver_may_approve=False))
        stage.climbs(1, 0.7, to="test")
        assert judged(stage, ANN, environment="test").code == "previous_approver"
        assert judged(stage, ANN, names.REJECTED, environment="test").may
        assert judged(stage, BEN, environment="test").may

    def test_otherwise_they_may(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="test")
        assert judged(stage, ANN, environment="test").may

    def test_what_was_rolled_back_there_does_not_go_on(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="test")
        stage.registers(2)
        stage.decides("dev", 2)
        stage.runs("dev", 2, measured(0.7, run_id="dev-2"))
        stage.rolls_back("dev")
        asked = request_id(GROUP, 2, "test", 1)
        situation = decisions.situation(stage.view, asked, world=stage.world)
        assert policy.may_decide(ANN, names.APPROVED, situation).code == "skips"

    def test_a_request_that_gave_way_there_approved_nothing(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="test")
        version = stage.view.version(1)
        gave_way = replace(
            version,
            statuses={**version.statuses, "dev": names.SUPERSEDED},
            requests={**version.requests, "dev": replace(version.requests["dev"], state="Superseded")},
            passed=(),
        )
        asked = request_id(GROUP, 1, "test", 1)
        situation = replace(decisions.situation(stage.view, asked, world=stage.world), version=gave_way)
        assert policy.may_decide(ANN, names.APPROVED, situation).code == "skips"

    def test_an_environment_that_comes_in_between_is_not_jumped_over(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="test")
        dev, *further = CONFIG.environments
        stage.config = replace(CONFIG, environments=(dev, replace(dev, name="integration"), *further))
        judgement = judged(stage, ANN, environment="test")
        assert judgement.code == "skips"
        assert judgement.who_may == "Approve it for integration first."

    def test_what_a_newer_version_replaced_there_may_go_on(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="test")
        stage.registers(2)
        stage.decides("dev", 2)
        assert stage.view.version(1).statuses["dev"] == names.SUPERSEDED
        assert judged(stage, ANN, environment="test").may


class TestFreezing:
    @pytest.fixture
    def frozen(self) -> Stage:
        begins = datetime(2026, 12, 20, tzinfo=UTC)
        return Stage(
            parse(_toml(FREEZE.format(start=begins.isoformat(), end=(begins + timedelta(days=14)).isoformat())))
        )

    def test_nothing_enters_while_it_lasts(self, frozen: Stage) -> None:
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        frozen.registers(1)
        judgement = judged(frozen, ANN)
        assert judgement.code == "frozen"
        assert "dev takes no promotion until 2027-01-03 00:00 UTC: quarter end." in judgement.why_not
        assert judged(frozen, ANN, names.REJECTED).may
        assert judged(frozen, GIL, glass=True).code == "frozen"

    @pytest.mark.parametrize("moment", ["2026-12-19T23:59:59+00:00", "2027-01-03T00:00:00+00:00"])
    def test_before_and_after_it_things_are_as_always(self, frozen: Stage, moment: str) -> None:
        frozen.now = datetime.fromisoformat(moment)
        frozen.registers(1)
        assert judged(frozen, ANN).may

    def test_rolling_back_stays_allowed(self, frozen: Stage) -> None:
        for version in (1, 2):
            frozen.registers(version)
            frozen.decides("dev", version)
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        frozen.rolls_back("dev")
        assert frozen.view.environment("dev").live == 1

    def test_environments_that_it_does_not_name_are_not_frozen(self, frozen: Stage) -> None:
        frozen.climbs(1, 0.7, to="test")
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        expired = judged(frozen, ANN, environment="test")
        assert expired.code == "expired"
        frozen.asks_again("test", 1, ANN, "The holidays are over for us.")
        assert judged(frozen, ANN, environment="test").may


class TestBreakingTheGlass:
    def shut(self, to: str = "test") -> Stage:
        stage = Stage()
        stage.climbs(1, 0.1, to=to)
        return stage

    def test_a_shut_gate_stops_everybody_and_says_who_may_pass_it(self) -> None:
        stage = self.shut()
        for person in (ANN, BEN, GIL):
            assert judged(stage, person, environment="test").code == "gate_shut"
        assert judged(stage, ANN, environment="test").who_may == "ML on call may pass a failed gate."

    def test_an_approver_without_the_glass_breaks_nothing(self) -> None:
        assert judged(self.shut(), ANN, glass=True, environment="test").code == "gate_shut"

    def test_who_holds_it_passes_a_shut_gate(self) -> None:
        judgement = judged(self.shut(), GIL, glass=True, environment="test")
        assert (judgement.may, judgement.breaks_glass) == (True, True)

    def test_who_holds_it_passes_a_missing_quorum(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        stage.decides("prod", 1, by=GIL, reason="Prod is on fire, and nobody answers.")
        assert stage.view.environment("prod").live == 1
        decision = stage.events[-2]
        assert decision.data.get("broke_glass") is True
        assert stage.view.version(1).approvals["prod"].approved_by == ("gil",)

    def test_every_approver_is_told_with_the_name_and_the_reason(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        stage.decides("prod", 1, by=GIL, reason="Prod is on fire, and nobody answers.")
        told = [mail for mail in stage.mails(names.DECISION_RECORDED) if "breaking the glass" in mail.subject]
        assert [set(mail.to) for mail in told] == [{"ann@example.com", "cho@example.com", "dan@example.com"}]
        assert "Gil on call" in told[0].text
        assert "Prod is on fire, and nobody answers." in told[0].text

    @pytest.mark.parametrize("verdict", names.VERDICTS)
    def test_holding_it_is_no_vote(self, verdict: names.Verdict) -> None:
        assert judged(registered_stage(), GIL, verdict).code == "not_approver"
        assert judged(registered_stage(), GIL, names.REJECTED, glass=True).code == "not_approver"

    def test_where_nothing_stood_in_the_way_nothing_was_broken(self) -> None:
        judgement = judged(registered_stage(), BOTH, glass=True)
        assert (judgement.may, judgement.breaks_glass) == (True, False)

    def test_an_approver_on_call_may_do_without_the_quorum(self) -> None:
        stage = Stage()
        stage.climbs(1, 0.7, to="prod")
        assert judged(stage, BOTH, environment="prod").may
        assert judged(stage, BOTH, glass=True, environment="prod").breaks_glass
        assert stage.request("prod", 1, BOTH)["may_break_glass"] is True

    def test_unhashed_and_broken_artifacts_stay_out_all_the_same(self) -> None:
        assert judged(registered_stage(hashing=True), GIL, glass=True).code == "hashing"
        assert judged(registered_stage(problem="it is gone."), GIL, glass=True).code == "artifact"


class TestAskingAgain:
    def rejected(self) -> Stage:
        stage = registered_stage()
        stage.decides("dev", 1, "Rejected")
        return stage

    def ask(self, stage: Stage, person: Person) -> None:
        decisions.ask_again(request_id(GROUP, 1, "dev", 1), person, "Trained on the mended data.", world=stage.world)

    def test_after_a_rejection_with_what_has_changed(self) -> None:
        stage = self.rejected()
        self.ask(stage, BEN)
        request = stage.view.version(1).requests["dev"]
        assert (request.attempt, request.state) == (2, "Pending")
        assert "Trained on the mended data." in stage.mails(names.APPROVAL_REQUESTED)[-1].text

    def test_the_requester_may(self) -> None:
        stage = self.rejected()
        self.ask(stage, replace(DEE_SIGNED_IN, groups=frozenset()))
        assert stage.view.version(1).requests["dev"].attempt == 2

    @pytest.mark.parametrize("person", [CHO, AUD, GIL, EVE], ids=lambda person: person.subject)
    def test_others_may_not(self, person: Person) -> None:
        stage = self.rejected()
        with pytest.raises(Refused, match="Only the requester and the approvers"):
            self.ask(stage, person)
        assert stage.view.version(1).requests["dev"].attempt == 1

    def test_not_while_it_is_open_or_once_it_is_approved(self) -> None:
        stage = registered_stage()
        with pytest.raises(AlreadyDecided):
            self.ask(stage, ANN)
        stage.decides("dev", 1)
        with pytest.raises(AlreadyDecided):
            self.ask(stage, ANN)

    def test_the_old_link_decides_nothing_any_more(self) -> None:
        stage = self.rejected()
        self.ask(stage, ANN)
        with pytest.raises(AlreadyDecided, match="newer request"):
            decisions.record_decision(request_id(GROUP, 1, "dev", 1), ANN, "Approved", "Now.", world=stage.world)

    def test_not_without_saying_what_has_changed(self) -> None:
        stage = self.rejected()
        with pytest.raises(Exception, match="say why"):
            decisions.ask_again(request_id(GROUP, 1, "dev", 1), ANN, "  ", world=stage.world)


class TestOperations:
    @pytest.mark.parametrize("person", [AUD, EVE, GIL], ids=lambda person: person.subject)
    def test_only_approvers_roll_back_and_revoke(self, person: Person) -> None:
        stage = Stage()
        for version in (1, 2):
            stage.registers(version)
            stage.decides("dev", version)
        before = len(stage.events)
        with pytest.raises(Refused):
            stage.rolls_back("dev", by=person)
        with pytest.raises(Refused):
            stage.revokes(1, by=person)
        assert len(stage.events) == before

    def test_an_approver_of_another_environment_does_not_roll_back(self) -> None:
        stage = Stage()
        for version in (1, 2):
            stage.registers(version)
            stage.decides("dev", version)
        with pytest.raises(Refused):
            stage.rolls_back("dev", by=CHO)

    def test_the_service_itself_undoes_nothing(self) -> None:
        stage = registered_stage()
        stage.decides("dev", 1)
        from promotion.domain.people import SYSTEM

        with pytest.raises(Refused):
            operations.revoke(GROUP, 1, SYSTEM, "Why not.", world=stage.world)


# Laws, for anybody in any story.
MOVES = st.sampled_from(
    [
        "approve",
        "reject",
        "glass",
        "expire",
        "again",
        "register",
        "run",
        "roll back",
        "revoke",
        "wait",
        "second approve",
    ]
)


def play(moves: list[str]) -> Stage:
    """A story of random moves; what the rules refuse does not happen."""
    stage = registered_stage()
    newest = 1
    for move in moves:
        pending = [
            (name, state.pending)
            for name, state in stage.view.environments.items()
            if state.pending is not None and name in stage.config.environment_names
        ]
        name, version = pending[-1] if pending else ("dev", newest)
        with contextlib.suppress(PromotionError):
            match move:
                case "approve":
                    stage.decides(name, version)
                case "second approve":
                    stage.decides(name, version, by=CHO)
                case "reject":
                    stage.decides(name, version, "Rejected")
                case "glass":
                    stage.decides(name, version, by=GIL)
                case "expire":
                    stage.later(hours=80)
                    stage.keeps_time(name)
                case "wait":
                    stage.later(hours=40)
                case "again":
                    stage.asks_again(name, version, ANN, "More data.")
                case "register":
                    newest += 1
                    stage.registers(newest, evidence=registered(0.7))
                case "run":
                    live = [n for n, state in stage.view.environments.items() if state.live is not None]
                    if live:
                        number = stage.view.environment(live[-1]).live or 0
                        run = f"{live[-1]}-{number}-{len(stage.events)}"
                        stage.runs(live[-1], number, measured(0.7 if len(stage.events) % 3 else 0.1, run_id=run))
                case "roll back":
                    stage.rolls_back(name)
                case "revoke":
                    stage.revokes(version)
    return stage


PEOPLE = st.builds(
    Person,
    subject=st.sampled_from(["ann", "cho", "dee@example.com", "someone"]),
    name=st.just("Somebody"),
    email=st.sampled_from(["", "ann@example.com", "dee@example.com", "someone@example.com"]),
    groups=st.frozensets(
        st.sampled_from(["ml-dev", "ml-test", "ml-uat", "ml-prod", "ml-oncall", "ml-auditors", "other"]), max_size=4
    ),
)
# Half of them begin where something has climbed already.
STORIES = st.builds(
    lambda climb, moves: ["approve", "run"] * climb + moves, st.integers(0, 3), st.lists(MOVES, max_size=8)
)
LAWS = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@LAWS
@given(moves=STORIES, person=PEOPLE)
def test_the_page_offers_exactly_what_the_post_takes(moves: list[str], person: Person) -> None:
    stage = play(moves)
    for version, state in stage.view.versions.items():
        for name, request in state.requests.items():
            page = stage.request(name, version, person)
            offers: list[tuple[bool, names.Verdict, bool]] = [
                (page["may_decide"], "Approved", False),
                (page["may_reject"], "Rejected", False),
            ]
            offers += [(True, "Approved", True)] if page["may_break_glass"] else []
            for offered, verdict, glass in offers:
                assert _is_taken(stage, request.id, person, verdict, glass) == offered, (name, verdict, glass)


@LAWS
@given(moves=STORIES, person=PEOPLE)
def test_whoever_is_in_no_group_of_the_environment_decides_nothing(moves: list[str], person: Person) -> None:
    stage = play(moves)
    for state in stage.view.versions.values():
        for name, request in state.requests.items():
            if CONFIG.environment(name, GROUP).approver_group.id in person.groups:
                continue
            assert not _is_taken(stage, request.id, person, "Rejected", False)
            assert not _is_taken(stage, request.id, person, "Approved", False)
            if "ml-oncall" not in person.groups:
                assert not _is_taken(stage, request.id, person, "Approved", True)


@LAWS
@given(moves=STORIES)
def test_nothing_is_live_that_was_not_let_in_through_every_environment_before(moves: list[str]) -> None:
    stage = play(moves)
    order = list(CONFIG.environment_names)
    for name, environment in stage.view.environments.items():
        if environment.live is None:
            continue
        version = stage.view.version(environment.live)
        assert not version.revoked
        assert set(order[: order.index(name) + 1]) <= set(version.approvals)


@LAWS
@given(moves=STORIES)
def test_every_promotion_has_its_quorum_of_different_people_or_a_broken_glass(moves: list[str]) -> None:
    for event in play(moves).events:
        if event.kind == names.MODEL_PROMOTED and not event.data.get("broke_glass"):
            quorum = CONFIG.environment(event.environment or "", GROUP).quorum
            assert len(set(event.data["approved_by"])) >= quorum


def _is_taken(stage: Stage, asked: str, person: Person, verdict: names.Verdict, glass: bool) -> bool:
    """Whether the POST would be taken, tried on a ledger that is thrown away."""
    copy = Stage(stage.config, group=stage.group)
    copy.now = stage.now
    copy.ledger.chain = {group: list(events) for group, events in stage.ledger.chain.items()}
    copy.ledger.heads = dict(stage.ledger.heads)
    try:
        decisions.record_decision(asked, person, verdict, "Because.", world=copy.world, breaking_glass=glass)
    except Refused:
        assert copy.ledger.heads == stage.ledger.heads, "a refusal writes nothing"
        return False
    return True


FREEZE = """
[[freeze]]
start = {start}
end = {end}
reason = "quarter end"
environments = ["dev"]
"""


def _toml(more: str) -> str:
    return f"""
[mail]
sender = "models@example.com"
[identity]
issuer = "https://login.example.com/tenant/v2.0"
client_id = "promotion"
[break_glass]
group = {{ id = "ml-oncall", name = "ML on call" }}
[[environments]]
name = "dev"
approver_group = {{ id = "ml-dev", name = "ML approvers, dev" }}
approvers = ["ann@example.com"]
[[environments]]
name = "test"
approver_group = {{ id = "ml-test", name = "ML approvers, test" }}
approvers = ["ann@example.com"]
{more}
"""


def test_the_stage_has_a_requester_who_is_known_by_their_own_word() -> None:
    assert DEE.declared_by == "self"
