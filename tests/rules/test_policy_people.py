"""Permission to decide, in small stories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain import policy
from promotion.domain.people import Actor, Person, Requester
from promotion.domain.request_ids import request_id
from promotion.errors import AlreadyDecided
from promotion.workflows import decisions
from tests.rules.policy_people import BEN, BOTH, DEE_SIGNED_IN, EVE, changed, judged, registered_stage
from tests.rules.scenario import ANN, AUD, CHO, CONFIG, DEE, GIL, GROUP, Scenario, measured


class TestGroups:
    @pytest.mark.parametrize("person", [CHO, AUD, EVE, GIL], ids=lambda person: person.subject)
    @pytest.mark.parametrize("verdict", names.VERDICTS)
    def test_a_person_outside_the_group_decides_nothing(self, person: Person, verdict: names.Verdict) -> None:
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
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        scenario.decides("prod", 1, by=ANN)
        assert scenario.view.environment("prod").live is None
        again = judged(scenario, ANN, environment="prod")
        assert (again.may, again.kind, again.code) == (False, "state", "voted")
        scenario.decides("prod", 1, by=CHO)
        assert scenario.view.environment("prod").live == 1

    def test_the_same_person_under_another_subject_is_the_same_person(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        scenario.decides("prod", 1, by=ANN)
        twin = replace(ANN, subject="ann-again", email="ANN@example.com")
        assert judged(scenario, twin, environment="prod").code == "voted"

    def test_one_rejection_decides_whatever_was_approved(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        scenario.decides("prod", 1, by=ANN)
        scenario.decides("prod", 1, "Rejected", by=CHO)
        assert scenario.view.version(1).requests["prod"].state == "Rejected"
        with pytest.raises(AlreadyDecided):
            scenario.decides("prod", 1, by=BOTH)


class TestRequesters:
    def test_nobody_approves_their_own_model_and_anybody_may_reject_it(self) -> None:
        scenario = registered_stage()
        own = judged(scenario, DEE_SIGNED_IN)
        assert (own.may, own.code) == (False, "own_model")
        assert "Another member of ML approvers, dev" in own.who_may
        assert judged(scenario, DEE_SIGNED_IN, names.REJECTED).may

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

    def test_an_unknown_requester_stops_nothing_if_requesters_may_approve(self) -> None:
        config = changed(CONFIG, "dev", requester_may_approve=True)
        assert judged(registered_stage(config, requester=None), ANN).may
        assert judged(registered_stage(config), DEE_SIGNED_IN).may

    def test_a_self_declared_requester_is_shown_as_that(self) -> None:
        assert registered_stage().request("dev", 1)["package"]["requester"]["how"] == "self-declared"


class TestTheEnvironmentBefore:
    def test_its_approver_may_not_approve_the_next_where_that_is_asked_for(self) -> None:
        scenario = Scenario(changed(CONFIG, "test", previous_approver_may_approve=False))
        scenario.promotes(1, 0.7, to="test")
        assert judged(scenario, ANN, environment="test").code == "previous_approver"
        assert judged(scenario, ANN, names.REJECTED, environment="test").may
        assert judged(scenario, BEN, environment="test").may

    def test_otherwise_they_may(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="test")
        assert judged(scenario, ANN, environment="test").may

    def test_a_version_rolled_back_there_does_not_go_on(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="test")
        scenario.registers(2)
        scenario.decides("dev", 2)
        scenario.runs("dev", 2, measured(0.7, run_id="dev-2"))
        scenario.rolls_back("dev")
        asked = request_id(GROUP, 2, "test", 1)
        situation = decisions.situation(scenario.view, asked, context=scenario.context)
        assert policy.may_decide(ANN, names.APPROVED, situation).code == "skips"

    def test_a_request_that_gave_way_there_approved_nothing(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="test")
        version = scenario.view.version(1)
        gave_way = replace(
            version,
            statuses={**version.statuses, "dev": names.SUPERSEDED},
            requests={**version.requests, "dev": replace(version.requests["dev"], state="Superseded")},
            passed=(),
        )
        asked = request_id(GROUP, 1, "test", 1)
        situation = replace(decisions.situation(scenario.view, asked, context=scenario.context), version=gave_way)
        assert policy.may_decide(ANN, names.APPROVED, situation).code == "skips"

    def test_an_environment_that_comes_in_between_is_not_jumped_over(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="test")
        dev, *further = CONFIG.environments
        scenario.config = replace(CONFIG, environments=(dev, replace(dev, name="integration"), *further))
        judgement = judged(scenario, ANN, environment="test")
        assert judgement.code == "skips"
        assert judgement.who_may == "Approve it for integration first."

    def test_a_version_replaced_there_by_a_newer_one_may_go_on(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="test")
        scenario.registers(2)
        scenario.decides("dev", 2)
        assert scenario.view.version(1).statuses["dev"] == names.SUPERSEDED
        assert judged(scenario, ANN, environment="test").may


class TestFreezing:
    @pytest.fixture
    def frozen(self) -> Scenario:
        begins = datetime(2026, 12, 20, tzinfo=UTC)
        return Scenario(
            parse(_toml(FREEZE.format(start=begins.isoformat(), end=(begins + timedelta(days=14)).isoformat())))
        )

    def test_nothing_enters_while_it_lasts(self, frozen: Scenario) -> None:
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        frozen.registers(1)
        judgement = judged(frozen, ANN)
        assert judgement.code == "frozen"
        assert "dev takes no promotion until 2027-01-03 00:00 UTC: quarter end." in judgement.why_not
        assert judged(frozen, ANN, names.REJECTED).may
        assert judged(frozen, GIL, glass=True).code == "frozen"

    @pytest.mark.parametrize("moment", ["2026-12-19T23:59:59+00:00", "2027-01-03T00:00:00+00:00"])
    def test_before_and_after_it_things_are_as_always(self, frozen: Scenario, moment: str) -> None:
        frozen.now = datetime.fromisoformat(moment)
        frozen.registers(1)
        assert judged(frozen, ANN).may

    def test_rolling_back_stays_allowed(self, frozen: Scenario) -> None:
        for version in (1, 2):
            frozen.registers(version)
            frozen.decides("dev", version)
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        frozen.rolls_back("dev")
        assert frozen.view.environment("dev").live == 1

    def test_environments_that_it_does_not_name_are_not_frozen(self, frozen: Scenario) -> None:
        frozen.promotes(1, 0.7, to="test")
        frozen.now = datetime(2026, 12, 24, tzinfo=UTC)
        expired = judged(frozen, ANN, environment="test")
        assert expired.code == "expired"
        frozen.asks_again("test", 1, ANN, "The holidays are over for us.")
        assert judged(frozen, ANN, environment="test").may


class TestBreakingTheGlass:
    def shut(self, to: str = "test") -> Scenario:
        scenario = Scenario()
        scenario.promotes(1, 0.1, to=to)
        return scenario

    def test_a_shut_gate_stops_everybody_and_says_who_may_pass_it(self) -> None:
        scenario = self.shut()
        for person in (ANN, BEN, GIL):
            assert judged(scenario, person, environment="test").code == "gate_shut"
        assert judged(scenario, ANN, environment="test").who_may == "ML on call may pass a failed gate."

    def test_an_approver_without_the_glass_breaks_nothing(self) -> None:
        assert judged(self.shut(), ANN, glass=True, environment="test").code == "gate_shut"

    def test_a_break_glass_member_passes_a_failed_gate(self) -> None:
        judgement = judged(self.shut(), GIL, glass=True, environment="test")
        assert (judgement.may, judgement.breaks_glass) == (True, True)

    def test_a_break_glass_member_passes_a_missing_quorum(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        scenario.decides("prod", 1, by=GIL, reason="Prod is on fire, and nobody answers.")
        assert scenario.view.environment("prod").live == 1
        decision = scenario.events[-2]
        assert decision.data.get("broke_glass") is True
        assert scenario.view.version(1).approvals["prod"].approved_by == ("gil",)

    def test_every_approver_is_told_with_the_name_and_the_reason(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        scenario.decides("prod", 1, by=GIL, reason="Prod is on fire, and nobody answers.")
        told = [mail for mail in scenario.mails(names.DECISION_RECORDED) if "breaking the glass" in mail.subject]
        assert [set(mail.to) for mail in told] == [{"ann@example.com", "cho@example.com", "dan@example.com"}]
        assert "Gil on call" in told[0].text
        assert "Prod is on fire, and nobody answers." in told[0].text

    @pytest.mark.parametrize("verdict", names.VERDICTS)
    def test_holding_it_is_no_vote(self, verdict: names.Verdict) -> None:
        assert judged(registered_stage(), GIL, verdict).code == "not_approver"
        assert judged(registered_stage(), GIL, names.REJECTED, glass=True).code == "not_approver"

    def test_an_approval_without_an_obstacle_is_no_break_glass(self) -> None:
        judgement = judged(registered_stage(), BOTH, glass=True)
        assert (judgement.may, judgement.breaks_glass) == (True, False)

    def test_an_approver_on_call_may_do_without_the_quorum(self) -> None:
        scenario = Scenario()
        scenario.promotes(1, 0.7, to="prod")
        assert judged(scenario, BOTH, environment="prod").may
        assert judged(scenario, BOTH, glass=True, environment="prod").breaks_glass
        assert scenario.request("prod", 1, BOTH)["may_break_glass"] is True

    def test_unhashed_and_broken_artifacts_stay_out_all_the_same(self) -> None:
        assert judged(registered_stage(hashing=True), GIL, glass=True).code == "hashing"
        assert judged(registered_stage(problem="it is gone."), GIL, glass=True).code == "artifact"


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
