"""One decision, exported, and checked elsewhere with the public key alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.domain.canonical_json import canonical
from promotion.domain.people import SYSTEM
from promotion.errors import Invalid
from promotion.ledger import decision_export
from promotion.ledger.append import append
from promotion.ledger.decision_export import Bundle
from promotion.ledger.events import NewEvent
from tests.fakes import ANN, CHO, CONFIG_TEXT, GROUP, FakeService
from tests.memory import LocalSigner


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    return fake


def test_a_decision_proves_itself_offline(fake: FakeService) -> None:
    found = decision_export.read(decision_export.write(decision_export.bundle(fake.asked(2, "prod"), fake.events())))
    assert decision_export.problems(found, fake.signer.holds) == []
    request = decision_export.request_of(found)
    assert (request.state, [vote.actor.subject for vote in request.votes]) == ("Approved", ["ann", "cho"])
    assert json.loads(found.policy)["environments"][2]["quorum"] == 2


def test_so_does_a_rejection_and_a_single_vote(fake: FakeService) -> None:
    fake.promote(3, to="test")
    fake.measure(3, "test")
    fake.decide(3, "prod", ANN)
    assert (
        decision_export.problems(decision_export.bundle(fake.asked(3, "prod"), fake.events()), fake.signer.holds) == []
    )
    fake.decide(3, "prod", CHO, names.REJECTED)
    assert (
        decision_export.problems(decision_export.bundle(fake.asked(3, "prod"), fake.events()), fake.signer.holds) == []
    )


def test_another_key_signed_nothing_of_it(fake: FakeService) -> None:
    found = decision_export.bundle(fake.asked(2, "prod"), fake.events())
    [problem] = decision_export.problems(found, LocalSigner().holds)
    assert "not signed by this key" in problem


def forge(kind: str, **changes: Any) -> Callable[[Bundle], Bundle]:
    """Other content in the text of each event of a kind."""

    def forged(found: Bundle) -> Bundle:
        events = []
        for stored in found.events:
            content = msgspec.json.decode(stored.text)
            if content["kind"] == kind:
                content["actor"] = {**content["actor"], **changes.get("actor", {})}
                content["data"] = {**content["data"], **changes.get("data", {})}
            events.append(replace(stored, text=canonical(content).decode()))
        return replace(found, events=tuple(events))

    return forged


@pytest.mark.parametrize(
    ("forgery", "said"),
    [
        (forge(names.DECISION_RECORDED, actor={"subject": "eve"}), "altered"),
        (forge(names.APPROVAL_REQUESTED, data={"gates": []}), "altered"),
        (forge(names.APPROVAL_REQUESTED, data={"attempt": "first"}), "can't be read"),
        (lambda b: replace(b, events=(*b.events[:-1], replace(b.events[-1], text="{"))), "can't be read"),
        (lambda b: replace(b, events=b.events[:-1]), "not signed"),
        (lambda b: replace(b, events=(*b.events[:2], *b.events[3:])), "does not follow"),
        (lambda b: replace(b, policy=b.policy.replace("dev", "test")), "another policy"),
        (lambda b: replace(b, request_id=f"{GROUP}:2:prod:7"), "no decision"),
        (lambda b: replace(b, request_id="fraud:2:prod:1"), "no decision"),
    ],
)
def test_a_forged_bundle_proves_nothing(fake: FakeService, forgery: Callable[[Bundle], Bundle], said: str) -> None:
    found = decision_export.bundle(fake.asked(2, "prod"), fake.events())
    problems = decision_export.problems(forgery(found), fake.signer.holds)
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize("left_out", [1, 2, 5])
def test_a_bundle_without_its_registration_proves_nothing(fake: FakeService, left_out: int) -> None:
    found = decision_export.bundle(fake.asked(2, "prod"), fake.events())
    without = replace(found, events=found.events[left_out:])
    [problem] = decision_export.problems(without, fake.signer.holds)
    assert "does not begin with the registration of v2" in problem


def test_evidence_other_than_what_was_shown_is_told(fake: FakeService) -> None:
    """The service itself, lying about what was shown: the signature holds, the digest doesn't."""
    fake.register(3)
    asked = fake.asked(3, "dev")
    data = {"request_id": asked, "verdict": "Rejected", "reason": "x"}
    fact = NewEvent(
        kind=names.DECISION_RECORDED,
        actor=ANN.as_actor(),
        version=3,
        environment="dev",
        data=data,
        evidence_digest="0" * 64,
    )
    append(GROUP, lambda view: [fact], fake.context)
    [problem] = decision_export.problems(decision_export.bundle(asked, fake.events()), fake.signer.holds)
    assert "what was shown is not the evidence enclosed" in problem


def test_the_policy_enclosed_is_the_one_that_was_in_force(fake: FakeService) -> None:
    fake.promote(3, to="test")
    fake.measure(3, "test")
    before = decision_export.bundle(fake.asked(3, "test"), fake.events())
    fake.config = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 1"))
    fake.decide(3, "prod", CHO)
    after = decision_export.bundle(fake.asked(3, "prod"), fake.events())
    assert [json.loads(found.policy)["environments"][2].get("quorum", 1) for found in (before, after)] == [2, 1]
    assert (
        decision_export.problems(before, fake.signer.holds) == decision_export.problems(after, fake.signer.holds) == []
    )


@pytest.mark.parametrize("asked", [f"{GROUP}:9:dev:1", f"{GROUP}:1:dev:4", "x"])
def test_a_missing_request_has_no_bundle(fake: FakeService, asked: str) -> None:
    with pytest.raises(Invalid):
        decision_export.bundle(asked, fake.events())


def test_an_undecided_request_has_no_bundle(fake: FakeService) -> None:
    fake.register(3)
    append(GROUP, lambda view: [NewEvent(kind="Something Else", actor=SYSTEM)], fake.context)
    with pytest.raises(Invalid, match="nobody has decided"):
        decision_export.bundle(fake.asked(3, "dev"), fake.events())


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"schema":3,"request_id":"a","events":[]}'])
def test_an_invalid_bundle_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid) as invalid:
        decision_export.read(text)
    assert invalid.value.field == "FILE"
