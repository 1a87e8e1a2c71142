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
from promotion.ledger.events import chained
from promotion.ledger.fold import evolve
from promotion.workflows import decisions, runs
from tests.fakes import ANN, BEN, CHO, CONFIG_TEXT, DAN, GROUP, House, a_package, a_run


@pytest.fixture
def house() -> House:
    return House()


def test_registering_asks_for_the_first_environment(house: House) -> None:
    house.register(1)
    assert house.kinds() == [names.POLICY_CHANGED, names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
    assert house.view().version(1).statuses == dict.fromkeys(("dev", "test", "prod"), names.PENDING)
    assert house.view().environment("dev").pending == 1


def test_registering_twice_makes_one_request(house: House) -> None:
    house.register(1)
    before = house.events()
    receipt = house.register(1)
    assert (receipt.events, receipt.note) == ((), "version 1 is already registered")
    assert house.events() == before


def test_a_newer_request_takes_the_place_of_an_older_pending_one(house: House) -> None:
    house.register(1)
    house.register(2)
    assert house.status(1, "dev") == names.SUPERSEDED
    assert house.view().version(1).requests["dev"].superseded_by == house.asked(2, "dev")
    with pytest.raises(AlreadyDecided, match="newer request"):
        house.decide(1, "dev")


def test_a_version_registered_after_a_newer_one_is_superseded_with_its_metrics_kept(house: House) -> None:
    house.register(2)
    house.register(1)
    assert house.view().environment("dev").pending == 2
    request = house.view().version(1).requests["dev"]
    assert (request.state, request.superseded_by) == (names.SUPERSEDED, house.asked(2, "dev"))
    assert request.evidence.metrics["rougeL"].value == 0.7
    assert house.project() == []
    assert house.lines() == []
    fields = house.sagemaker.packages[a_package(1).arn]["CustomerMetadataProperties"]
    assert fields["dev"] == names.SUPERSEDED


def test_a_version_registered_after_a_newer_one_is_live_is_superseded(house: House) -> None:
    house.climb(2, to="dev")
    house.register(1)
    assert house.status(1, "dev") == names.SUPERSEDED
    assert house.view().environment("dev").pending is None


def test_30_registrations_in_any_order_leave_one_pending_and_29_superseded(house: House) -> None:
    for version in sorted(range(1, 31), key=lambda number: number * 7 % 31):
        house.register(version)
    statuses = [state.statuses["dev"] for state in house.ledger.versions(GROUP)]
    assert (statuses.count(names.PENDING), statuses.count(names.SUPERSEDED)) == (1, 29)
    assert house.view().environment("dev").pending == 30


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_superseded_version_may_be_asked_again_once_nothing_newer_is_there(
    house: House, order: tuple[int, int]
) -> None:
    for version in order:
        house.register(version)
    with pytest.raises(AlreadyDecided, match="Version 2, which is newer, asks to enter dev"):
        decisions.ask_again(house.asked(1, "dev"), BEN, "It is the better one.", world=house.world)
    house.decide(2, "dev", verdict=names.REJECTED)
    decisions.ask_again(house.asked(1, "dev"), BEN, "It is the better one.", world=house.world)
    house.decide(1, "dev")
    assert house.live("dev") == 1


def test_a_person_may_request_a_rolled_back_version_again(house: House) -> None:
    house.climb(1)
    house.climb(2)
    house.roll_back("prod")
    house.measure(2, "test", 0.75, run="mended")
    decisions.ask_again(house.asked(2, "prod"), ANN, "The tokenizer is mended.", world=house.world)
    request = house.view().version(2).requests["prod"]
    assert (request.state, request.evidence.run_id) == ("Pending", "mended")
    for person in (ANN, CHO):
        house.decide(2, "prod", person)
    assert house.live("prod") == 2


def test_a_request_past_its_time_expires_rather_than_being_superseded(house: House) -> None:
    house.register(1)
    house.later(hours=73)
    house.register(2)
    assert house.status(1, "dev") == names.EXPIRED
    assert names.REQUEST_SUPERSEDED not in house.kinds()


def test_an_approval_that_completes_the_quorum_goes_live_in_the_same_append(house: House) -> None:
    house.register(1)
    receipt = house.decide(1, "dev")
    assert [event.kind for event in receipt.events] == [names.DECISION_RECORDED, names.MODEL_PROMOTED]
    assert house.live("dev") == 1
    assert house.view().environment("dev").pending is None


def test_one_of_two_approvals_changes_nothing_yet(house: House) -> None:
    house.climb(1, to="test")
    house.measure(1, "test")
    house.decide(1, "prod")
    assert house.live("prod") is None
    assert house.status(1, "prod") == names.PENDING
    house.decide(1, "prod", CHO)
    assert house.live("prod") == 1
    assert house.view().version(1).approvals["prod"].approved_by == ("ann", "cho")


def test_one_rejection_closes_a_request_whatever_was_voted_before(house: House) -> None:
    house.climb(1, to="test")
    house.measure(1, "test")
    house.decide(1, "prod")
    house.decide(1, "prod", CHO, names.REJECTED)
    assert house.status(1, "prod") == names.REJECTED
    with pytest.raises(AlreadyDecided, match="rejected by Cho Chen"):
        house.decide(1, "prod", DAN)


def test_the_same_person_votes_once(house: House) -> None:
    house.climb(1, to="test")
    house.measure(1, "test")
    house.decide(1, "prod")
    with pytest.raises(AlreadyDecided) as refused:
        house.decide(1, "prod")
    assert refused.value.code == "voted"


def test_refusal_writes_nothing(house: House) -> None:
    house.register(1)
    before = house.events()
    with pytest.raises(Refused):
        house.decide(1, "dev", CHO)
    with pytest.raises(Invalid):
        house.decide(1, "dev", reason="  ")
    with pytest.raises(Invalid):
        house.decide(1, "dev", verdict="approved")
    assert house.events() == before


def test_a_run_asks_for_the_next_environment_with_its_own_metrics(house: House) -> None:
    house.climb(1, to="dev")
    house.measure(1, "dev", 0.5)
    request = house.view().version(1).requests["test"]
    assert request.evidence.metrics["rougeL"].value == 0.5
    assert not request.gates_open
    with pytest.raises(Refused, match=r"rougeL is 0\.5; it has to be at least 0\.6"):
        house.decide(1, "test")


def test_a_run_reported_twice_is_recorded_once(house: House) -> None:
    house.climb(1, to="dev")
    house.measure(1, "dev", run="r1")
    before = house.events()
    house.measure(1, "dev", run="r1")
    assert house.events() == before


def test_a_run_in_the_last_environment_asks_for_nothing(house: House) -> None:
    house.climb(1)
    house.measure(1, "prod")
    assert house.kinds()[-1] == names.INFERENCE_COMPLETED


def test_a_run_on_what_is_no_longer_approved_there_asks_for_nothing(house: House) -> None:
    house.climb(1, to="dev")
    house.climb(2, to="dev")
    house.roll_back("dev")
    house.measure(2, "dev")
    assert house.view().environment("test").pending is None


def test_new_evidence_for_a_pending_request_is_judged_in_it(house: House) -> None:
    house.climb(1, to="dev")
    house.measure(1, "dev", 0.5, run="poor")
    house.measure(1, "dev", 0.8, run="better")
    request = house.view().version(1).requests["test"]
    assert (request.attempt, request.gates_open, request.state) == (1, True, "Pending")
    house.decide(1, "test")
    assert house.live("test") == 1


def test_an_older_attempt_can_not_be_decided(house: House) -> None:
    house.register(1)
    house.decide(1, "dev", verdict=names.REJECTED)
    old = house.asked(1, "dev")
    decisions.ask_again(old, BEN, "Trained anew.", world=house.world)
    with pytest.raises(AlreadyDecided):
        decisions.record_decision(old, ANN, names.APPROVED, "fine", world=house.world)


def test_a_rejected_request_may_be_asked_again_by_requester_or_approver(house: House) -> None:
    house.register(1)
    house.decide(1, "dev", verdict=names.REJECTED)
    asked = house.asked(1, "dev")
    with pytest.raises(Refused, match="Only the requester and the approvers"):
        decisions.ask_again(asked, CHO, "I'd like it.", world=house.world)
    decisions.ask_again(asked, BEN, "The reference was wrong.", world=house.world)
    assert house.status(1, "dev") == names.PENDING
    assert house.asked(1, "dev").endswith(":2")


def test_an_expired_request_is_closed_once_when_asked_again(house: House) -> None:
    house.register(1)
    house.later(hours=73)
    decisions.ask_again(house.asked(1, "dev"), ANN, "We were away.", world=house.world)
    assert house.kinds().count(names.REQUEST_EXPIRED) == 1
    assert house.view().environment("dev").pending == 1


def test_a_pending_request_is_not_asked_again(house: House) -> None:
    house.register(1)
    with pytest.raises(AlreadyDecided):
        decisions.ask_again(house.asked(1, "dev"), ANN, "Please.", world=house.world)


def test_approvers_are_reminded_once_at_half_time_and_the_request_then_expires(house: House) -> None:
    house.register(1)
    dev = house.view().environment("dev")
    for hours, kind in ((35, None), (2, names.APPROVER_REMINDED), (10, None), (30, names.REQUEST_EXPIRED), (1, None)):
        house.later(hours=hours)
        receipt = decisions.keep_time(dev, world=house.world)
        assert [event.kind for event in receipt.events] == ([kind] if kind else [])
    assert house.status(1, "dev") == names.EXPIRED


def test_nobody_approves_while_the_artifact_is_hashed(house: House) -> None:
    house.register(1, hashing=True, problem="the artifact is 40 GB")
    with pytest.raises(Refused, match="still being hashed"):
        house.decide(1, "dev")
    container = replace(a_package(1).containers[0], sha256="ab" * 32)
    decisions.record_artifact(GROUP, 1, [container], "", world=house.world)
    house.decide(1, "dev")
    assert house.view().version(1).package.containers[0].sha256 == "ab" * 32


def test_hashing_that_found_a_damaged_archive_keeps_the_gate_shut(house: House) -> None:
    house.register(1, hashing=True)
    decisions.record_artifact(GROUP, 1, [], "the archive is damaged", world=house.world)
    with pytest.raises(Refused, match="the archive is damaged"):
        house.decide(1, "dev")
    assert decisions.record_artifact(GROUP, 1, [Container(image="i")], "", world=house.world).events == ()


def test_a_package_too_large_for_a_parameter_can_not_be_approved(house: House) -> None:
    variables = {f"VARIABLE_{index}": "x" * 1000 for index in range(16)}
    house.register(1, containers=(replace(a_package(1).containers[0], environment=variables),))
    with pytest.raises(Refused, match="more than Parameter Store takes"):
        house.decide(1, "dev")


def test_a_change_of_policy_is_an_event_with_its_text(house: House) -> None:
    house.register(1)
    house.config = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 3"))
    receipt = house.decide(1, "dev")
    change = receipt.events[0]
    assert change.kind == names.POLICY_CHANGED
    assert change.data["policy"]["environments"][2]["quorum"] == 3
    assert {event.policy_digest for event in receipt.events} == {house.config.policy_digest()}


def test_somebody_faster_makes_a_step_decide_anew(house: House) -> None:
    house.register(1)
    view = house.view()
    house.decide(1, "dev")
    facts = chained(view.head, [], time=house.now, policy_digest="")
    assert facts == []
    from promotion.ledger.events import NewEvent

    late = chained(view.head, [NewEvent(kind="Late", actor=ANN.as_actor())], time=house.now, policy_digest="")
    for event in late:
        evolve(view, event)
    with pytest.raises(Conflict):
        house.ledger.append(view, late)


def test_an_append_sent_again_after_a_lost_answer_has_succeeded(house: House) -> None:
    house.register(1)
    view = house.view()
    from promotion.ledger.events import NewEvent

    events = chained(view.head, [NewEvent(kind="Once", actor=ANN.as_actor())], time=house.now, policy_digest="")
    house.ledger.append(view, events)
    house.ledger.append(view, events)
    assert house.kinds()[-1:] == ["Once"]


def test_gates_compare_with_the_evidence_that_admitted_what_is_live(house: House) -> None:
    house.climb(1, rouge=0.9)
    house.climb(2, to="test", rouge=0.8)
    house.measure(2, "test", 0.8)
    [shut] = [gate for gate in house.view().version(2).requests["prod"].gates if not gate.open]
    assert (gate_name(shut), gate_bound(shut)) == ("rougeL against live", "at most 0.05 worse than 0.9")


def test_a_metric_that_is_missing_keeps_a_version_out(house: House) -> None:
    house.climb(1, to="dev")
    evidence = a_run("dev", metrics={"rougeL": Metric(value=None)})
    runs.record_inference(GROUP, 1, evidence, world=house.world)
    with pytest.raises(Refused, match="rougeL is missing"):
        house.decide(1, "test")


def test_the_reviewed_information_is_in_the_decisions_event(house: House) -> None:
    house.register(1)
    receipt = house.decide(1, "dev")
    state = house.view().version(1)
    registered, asked = (json.loads(event.text)["data"] for event in house.events()[1:3])
    parts = [
        hashlib.sha256(canonical(each)).hexdigest()
        for each in (registered["package"], asked["evidence"], asked["gates"])
    ]
    assert receipt.events[0].evidence_digest == hashlib.sha256(canonical(parts)).hexdigest()
    other = replace(state.requests["dev"], evidence_digest="0" * 64)
    assert receipt.events[0].evidence_digest != policy.shown_digest(state, other)
