"""Registered, decided on, measured, asked again, expired: what each step writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain import policy
from promotion.domain.canonical_json import canonical
from promotion.domain.gate_sentences import gate_bound, gate_name
from promotion.domain.model import Container, Metric
from promotion.errors import AlreadyDecided, Conflict, Invalid, Refused
from promotion.ledger.append import Receipt
from promotion.ledger.events import chained
from promotion.ledger.fold import evolve
from promotion.workflows import decisions, runs
from tests.fakes import ANN, BEN, CHO, CONFIG_TEXT, DAN, GROUP, FakeService, a_package, a_run


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


def test_registering_asks_for_the_first_environment(fake: FakeService) -> None:
    fake.register(1)
    assert fake.kinds() == [names.POLICY_CHANGED, names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
    assert fake.view().version(1).statuses == dict.fromkeys(("dev", "test", "prod"), names.PENDING)
    assert fake.view().environment("dev").pending == 1


def test_registering_twice_makes_one_request(fake: FakeService) -> None:
    fake.register(1)
    before = fake.events()
    receipt = fake.register(1)
    assert (receipt.events, receipt.note) == ((), "version 1 is already registered")
    assert fake.events() == before


def test_a_newer_request_takes_the_place_of_an_older_pending_one(fake: FakeService) -> None:
    fake.register(1)
    fake.register(2)
    assert fake.status(1, "dev") == names.SUPERSEDED
    assert fake.view().version(1).requests["dev"].superseded_by == fake.asked(2, "dev")
    with pytest.raises(AlreadyDecided, match="newer request"):
        fake.decide(1, "dev")


def test_a_version_registered_after_a_newer_one_is_superseded_with_its_metrics_kept(fake: FakeService) -> None:
    fake.register(2)
    fake.register(1)
    assert fake.view().environment("dev").pending == 2
    request = fake.view().version(1).requests["dev"]
    assert (request.state, request.superseded_by) == (names.SUPERSEDED, fake.asked(2, "dev"))
    assert request.evidence.metrics["rougeL"].value == 0.7
    assert fake.project() == []
    assert fake.lines() == []
    fields = fake.sagemaker.packages[a_package(1).arn]["CustomerMetadataProperties"]
    assert fields["dev"] == names.SUPERSEDED


def test_a_version_registered_after_a_newer_one_is_live_is_superseded(fake: FakeService) -> None:
    fake.promote(2, to="dev")
    fake.register(1)
    assert fake.status(1, "dev") == names.SUPERSEDED
    assert fake.view().environment("dev").pending is None


def test_30_registrations_in_any_order_leave_one_pending_and_29_superseded(fake: FakeService) -> None:
    for version in sorted(range(1, 31), key=lambda number: number * 7 % 31):
        fake.register(version)
    statuses = [state.statuses["dev"] for state in fake.ledger.versions(GROUP)]
    assert (statuses.count(names.PENDING), statuses.count(names.SUPERSEDED)) == (1, 29)
    assert fake.view().environment("dev").pending == 30


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_superseded_version_may_be_asked_again_once_nothing_newer_is_there(
    fake: FakeService, order: tuple[int, int]
) -> None:
    for version in order:
        fake.register(version)
    with pytest.raises(AlreadyDecided, match="Version 2, which is newer, asks to enter dev"):
        decisions.ask_again(fake.asked(1, "dev"), BEN, "It is the better one.", context=fake.context)
    fake.decide(2, "dev", verdict=names.REJECTED)
    decisions.ask_again(fake.asked(1, "dev"), BEN, "It is the better one.", context=fake.context)
    fake.decide(1, "dev")
    assert fake.live("dev") == 1


def test_a_person_may_request_a_rolled_back_version_again(fake: FakeService) -> None:
    fake.promote(1)
    fake.promote(2)
    fake.roll_back("prod")
    fake.measure(2, "test", 0.75, run="mended")
    decisions.ask_again(fake.asked(2, "prod"), ANN, "The tokenizer is mended.", context=fake.context)
    request = fake.view().version(2).requests["prod"]
    assert (request.state, request.evidence.run_id) == ("Pending", "mended")
    for person in (ANN, CHO):
        fake.decide(2, "prod", person)
    assert fake.live("prod") == 2


def test_a_request_past_its_time_expires_rather_than_being_superseded(fake: FakeService) -> None:
    fake.register(1)
    fake.later(hours=73)
    fake.register(2)
    assert fake.status(1, "dev") == names.EXPIRED
    assert names.REQUEST_SUPERSEDED not in fake.kinds()


def test_an_approval_that_completes_the_quorum_goes_live_in_the_same_append(fake: FakeService) -> None:
    fake.register(1)
    receipt = fake.decide(1, "dev")
    assert [event.kind for event in receipt.events] == [names.DECISION_RECORDED, names.MODEL_PROMOTED]
    assert fake.live("dev") == 1
    assert fake.view().environment("dev").pending is None


def test_one_of_two_approvals_changes_nothing_yet(fake: FakeService) -> None:
    fake.promote(1, to="test")
    fake.measure(1, "test")
    fake.decide(1, "prod")
    assert fake.live("prod") is None
    assert fake.status(1, "prod") == names.PENDING
    fake.decide(1, "prod", CHO)
    assert fake.live("prod") == 1
    assert fake.view().version(1).approvals["prod"].approved_by == ("ann", "cho")


def test_one_rejection_closes_a_request_whatever_was_voted_before(fake: FakeService) -> None:
    fake.promote(1, to="test")
    fake.measure(1, "test")
    fake.decide(1, "prod")
    fake.decide(1, "prod", CHO, names.REJECTED)
    assert fake.status(1, "prod") == names.REJECTED
    with pytest.raises(AlreadyDecided, match="rejected by Cho Chen"):
        fake.decide(1, "prod", DAN)


def test_the_same_person_votes_once(fake: FakeService) -> None:
    fake.promote(1, to="test")
    fake.measure(1, "test")
    fake.decide(1, "prod")
    with pytest.raises(AlreadyDecided) as refused:
        fake.decide(1, "prod")
    assert refused.value.code == "voted"


def test_refusal_writes_nothing(fake: FakeService) -> None:
    fake.register(1)
    before = fake.events()
    with pytest.raises(Refused):
        fake.decide(1, "dev", CHO)
    with pytest.raises(Invalid):
        fake.decide(1, "dev", reason="  ")
    with pytest.raises(Invalid):
        fake.decide(1, "dev", verdict="approved")
    assert fake.events() == before


def test_a_run_asks_for_the_next_environment_with_its_own_metrics(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.measure(1, "dev", 0.5)
    request = fake.view().version(1).requests["test"]
    assert request.evidence.metrics["rougeL"].value == 0.5
    assert not request.gates_open
    with pytest.raises(Refused, match=r"rougeL is 0\.5; it has to be at least 0\.6"):
        fake.decide(1, "test")


def test_a_run_reported_twice_is_recorded_once(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.measure(1, "dev", run="r1")
    before = fake.events()
    fake.measure(1, "dev", run="r1")
    assert fake.events() == before


def test_a_run_in_the_last_environment_asks_for_nothing(fake: FakeService) -> None:
    fake.promote(1)
    fake.measure(1, "prod")
    assert fake.kinds()[-1] == names.INFERENCE_COMPLETED


def test_a_run_on_what_is_no_longer_approved_there_asks_for_nothing(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    fake.roll_back("dev")
    fake.measure(2, "dev")
    assert fake.view().environment("test").pending is None


def test_new_evidence_for_a_pending_request_is_judged_in_it(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.measure(1, "dev", 0.5, run="poor")
    fake.measure(1, "dev", 0.8, run="better")
    request = fake.view().version(1).requests["test"]
    assert (request.attempt, request.gates_open, request.state) == (1, True, "Pending")
    fake.decide(1, "test")
    assert fake.live("test") == 1


def test_an_older_attempt_can_not_be_decided(fake: FakeService) -> None:
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    old = fake.asked(1, "dev")
    decisions.ask_again(old, BEN, "Trained anew.", context=fake.context)
    with pytest.raises(AlreadyDecided):
        decisions.record_decision(old, ANN, names.APPROVED, "fine", context=fake.context)


def test_a_rejected_request_may_be_asked_again_by_requester_or_approver(fake: FakeService) -> None:
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    asked = fake.asked(1, "dev")
    with pytest.raises(Refused, match="Only the requester and the approvers"):
        decisions.ask_again(asked, CHO, "I'd like it.", context=fake.context)
    decisions.ask_again(asked, BEN, "The reference was wrong.", context=fake.context)
    assert fake.status(1, "dev") == names.PENDING
    assert fake.asked(1, "dev").endswith(":2")


def test_an_expired_request_is_closed_once_when_asked_again(fake: FakeService) -> None:
    fake.register(1)
    fake.later(hours=73)
    decisions.ask_again(fake.asked(1, "dev"), ANN, "We were away.", context=fake.context)
    assert fake.kinds().count(names.REQUEST_EXPIRED) == 1
    assert fake.view().environment("dev").pending == 1


def test_a_pending_request_is_not_asked_again(fake: FakeService) -> None:
    fake.register(1)
    with pytest.raises(AlreadyDecided):
        decisions.ask_again(fake.asked(1, "dev"), ANN, "Please.", context=fake.context)


def test_approvers_are_reminded_once_at_half_time_and_the_request_then_expires(fake: FakeService) -> None:
    fake.register(1)
    dev = fake.view().environment("dev")
    for hours, kind in ((35, None), (2, names.APPROVER_REMINDED), (10, None), (30, names.REQUEST_EXPIRED), (1, None)):
        fake.later(hours=hours)
        receipt = decisions.keep_time(dev, context=fake.context)
        assert [event.kind for event in receipt.events] == ([kind] if kind else [])
    assert fake.status(1, "dev") == names.EXPIRED


def test_nobody_approves_while_the_artifact_is_hashed(fake: FakeService) -> None:
    fake.register(1, hashing=True, problem="the artifact is 40 GB")
    with pytest.raises(Refused, match="still being hashed"):
        fake.decide(1, "dev")
    container = replace(a_package(1).containers[0], sha256="ab" * 32)
    decisions.record_artifact(GROUP, 1, [container], "", context=fake.context)
    fake.decide(1, "dev")
    assert fake.view().version(1).package.containers[0].sha256 == "ab" * 32


def test_hashing_that_found_a_damaged_archive_keeps_the_gate_shut(fake: FakeService) -> None:
    fake.register(1, hashing=True)
    decisions.record_artifact(GROUP, 1, [], "the archive is damaged", context=fake.context)
    with pytest.raises(Refused, match="the archive is damaged"):
        fake.decide(1, "dev")
    assert decisions.record_artifact(GROUP, 1, [Container(image="i")], "", context=fake.context).events == ()


def test_a_failure_of_hashing_is_recorded_once_and_other_artifacts_never(fake: FakeService) -> None:
    fake.register(1, hashing=True)

    def hashed(*containers: Container, problem: str = "", hashing: bool = False) -> Receipt:
        return decisions.record_artifact(GROUP, 1, containers, problem, context=fake.context, hashing=hashing)

    assert hashed(problem="S3 is away", hashing=True).events
    assert hashed(problem="S3 is away", hashing=True).note == "this problem is recorded already"
    with pytest.raises(Invalid, match="registered with another image or artifact"):
        hashed(replace(a_package(1).containers[0], model_data_url="s3://elsewhere/model.tar.gz"))
    assert fake.kinds().count(names.ARTIFACT_HASHED) == 1


def test_a_package_too_large_for_a_parameter_can_not_be_approved(fake: FakeService) -> None:
    variables = {f"VARIABLE_{index}": "x" * 1000 for index in range(16)}
    fake.register(1, containers=(replace(a_package(1).containers[0], environment=variables),))
    with pytest.raises(Refused, match="more than Parameter Store takes"):
        fake.decide(1, "dev")


def test_variables_full_of_braces_are_measured_as_they_are_written(fake: FakeService) -> None:
    """Parameter Store takes no `{{`: each second brace becomes six characters more."""
    braces = [
        a_package(version, containers=(replace(a_package(version).containers[0], environment={"TEMPLATE": text}),))
        for version, text in ((1, "{{ messages }}" * 100), (2, "{" * 4000))
    ]
    fake.register(1, containers=braces[0].containers)
    fake.decide(1, "dev")
    fake.register(2, containers=braces[1].containers)
    with pytest.raises(Refused, match="more than Parameter Store takes"):
        fake.decide(2, "dev")
    assert fake.project() == []


def test_digests_that_hashing_adds_count_for_the_size_of_the_record(fake: FakeService) -> None:
    one = replace(a_package(1).containers[0], sha256="", manifest_sha256="", model_data_version_id="", image_digest="")
    bare = [replace(one, model_data_url=f"s3://models/{'k' * 150}/{number}.tar.gz") for number in range(12)]
    fake.register(1, containers=tuple(bare), hashing=True)
    assert fake.view().version(1).package.problem == ""
    found = [
        replace(
            each,
            sha256="ab" * 32,
            manifest_sha256="cd" * 32,
            model_data_version_id="v" * 100,
            image_digest=f"sha256:{'ef' * 32}",
        )
        for each in bare
    ]
    decisions.record_artifact(GROUP, 1, found, "", context=fake.context)
    with pytest.raises(Refused, match="more than Parameter Store takes"):
        fake.decide(1, "dev")
    assert fake.project() == []


def test_a_change_of_policy_is_an_event_with_its_text(fake: FakeService) -> None:
    fake.register(1)
    fake.config = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 3"))
    receipt = fake.decide(1, "dev")
    change = receipt.events[0]
    assert change.kind == names.POLICY_CHANGED
    assert change.data["policy"]["environments"][2]["quorum"] == 3
    assert {event.policy_digest for event in receipt.events} == {fake.config.policy_digest()}


def test_somebody_faster_makes_a_step_decide_anew(fake: FakeService) -> None:
    fake.register(1)
    view = fake.view()
    fake.decide(1, "dev")
    facts = chained(view.head, [], time=fake.now, policy_digest="")
    assert facts == []
    from promotion.ledger.events import NewEvent

    late = chained(view.head, [NewEvent(kind="Late", actor=ANN.as_actor())], time=fake.now, policy_digest="")
    for event in late:
        evolve(view, event)
    with pytest.raises(Conflict):
        fake.ledger.append(view, late)


def test_an_append_sent_again_after_a_lost_answer_has_succeeded(fake: FakeService) -> None:
    fake.register(1)
    view = fake.view()
    from promotion.ledger.events import NewEvent

    events = chained(view.head, [NewEvent(kind="Once", actor=ANN.as_actor())], time=fake.now, policy_digest="")
    fake.ledger.append(view, events)
    fake.ledger.append(view, events)
    assert fake.kinds()[-1:] == ["Once"]


def test_gates_compare_with_the_evidence_that_admitted_what_is_live(fake: FakeService) -> None:
    fake.promote(1, rouge=0.9)
    fake.promote(2, to="test", rouge=0.8)
    fake.measure(2, "test", 0.8)
    [shut] = [gate for gate in fake.view().version(2).requests["prod"].gates if not gate.open]
    assert (gate_name(shut), gate_bound(shut)) == ("rougeL against live", "at most 0.05 worse than 0.9")


def test_a_metric_that_is_missing_keeps_a_version_out(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    evidence = a_run("dev", metrics={"rougeL": Metric(value=None)})
    runs.record_inference(GROUP, 1, evidence, context=fake.context)
    with pytest.raises(Refused, match="rougeL is missing"):
        fake.decide(1, "test")


def test_the_reviewed_information_is_in_the_decisions_event(fake: FakeService) -> None:
    fake.register(1)
    receipt = fake.decide(1, "dev")
    state = fake.view().version(1)
    registered, asked = (json.loads(event.text)["data"] for event in fake.events()[1:3])
    parts = [
        hashlib.sha256(canonical(each)).hexdigest()
        for each in (registered["package"], asked["evidence"], asked["gates"])
    ]
    assert receipt.events[0].evidence_digest == hashlib.sha256(canonical(parts)).hexdigest()
    other = replace(state.requests["dev"], evidence_digest="0" * 64)
    assert receipt.events[0].evidence_digest != policy.shown_digest(state, other)
