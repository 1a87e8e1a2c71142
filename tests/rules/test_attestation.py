"""Attestations: each promotion leaves a signed in-toto statement about the artifact and its members."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from promotion import names
from promotion.client.artifact import Manifest, Member
from promotion.client.envelope import opened, seal
from promotion.domain.model import Container
from promotion.errors import IntegrityError
from promotion.ledger import attestation
from promotion.ledger.events import Event
from promotion.ledger.payloads import ModelPromoted
from promotion.workflows.projector import Target
from tests.fakes import ANN, CHO, GROUP, FakeService
from tests.memory import LocalSigner

MEMBERS = Manifest((Member("config.json", 2, "11" * 32), Member("weights/model.safetensors", 9, "22" * 32)))
ARTIFACT = Container(
    image="hf:2.1",
    image_digest="sha256:" + "ab" * 32,
    model_data_url="s3://promotion-models/summariser/1/model.tar.gz",
    size=900,
    sha256="33" * 32,
    manifest_sha256=MEMBERS.sha256,
)


@pytest.fixture
def fake() -> FakeService:
    """Version 1 live in every environment, its list of members kept."""
    fake = FakeService()
    fake.evidence.keep_manifest(MEMBERS)
    fake.register(1, containers=(ARTIFACT,))
    for name in fake.config.environment_names:
        fake.later(minutes=10)
        for person in (ANN, CHO)[: fake.config.environment(name, GROUP).quorum]:
            fake.decide(1, name, person)
        fake.later(minutes=10)
        fake.measure(1, name)
    return fake


def promotions(fake: FakeService) -> list[Event]:
    return [event for event in fake.events() if isinstance(event.payload, ModelPromoted)]


def statement(fake: FakeService, environment: str) -> dict[str, Any]:
    [event] = [event for event in promotions(fake) if event.environment == environment]
    envelope = fake.evidence.attestation(event)
    assert envelope is not None
    return opened(envelope, fake.signer.holds)


def test_each_promotion_is_attested_beside_the_evidence(fake: FakeService) -> None:
    fake.project()
    found = [key for key in fake.s3.objects if key.endswith(".json") and key.startswith("attestations/")]
    assert sorted(found) == sorted(
        f"attestations/{GROUP}.v1/{event.sequence:010d}-{event.environment}.json" for event in promotions(fake)
    )


def test_the_subjects_are_the_artifact_and_its_members(fake: FakeService) -> None:
    fake.project()
    assert statement(fake, "prod")["subject"] == [
        {"name": ARTIFACT.model_data_url, "digest": {"sha256": ARTIFACT.sha256}},
        {"name": "config.json", "digest": {"sha256": "11" * 32}},
        {"name": "weights/model.safetensors", "digest": {"sha256": "22" * 32}},
    ]


def test_the_predicate_says_who_approved_for_what_when_and_on_what_evidence(fake: FakeService) -> None:
    fake.project()
    found = attestation.read_predicate(statement(fake, "prod"))
    [event] = [event for event in promotions(fake) if event.environment == "prod"]
    request = fake.view().version(1).requests["prod"]
    assert [each.by.subject for each in found.approvals] == ["ann", "cho"]
    assert (found.environment, found.request_id, found.promoted_at) == ("prod", request.id, event.time)
    assert (found.evidence.digest, found.evidence.environment) == (request.evidence_digest, "test")
    assert {each.evidence_digest for each in found.approvals} == {vote.evidence_digest for vote in request.approvals}
    assert (found.ledger.hash, found.policy_digest) == (event.hash, event.policy_digest)
    assert found.gates == request.gates


def test_the_statement_is_what_the_schema_under_docs_says(fake: FakeService) -> None:
    fake.project()
    path = Path(__file__).parents[2] / "docs" / "attestation.schema.json"
    assert path.read_text(encoding="utf-8") == attestation.schema_text(), "python -m tools.write_event_schemas"
    jsonschema.validate(json.loads(json.dumps(statement(fake, "prod")["predicate"])), attestation.schema())


def test_of_another_event_than_a_promotion_there_is_no_statement(fake: FakeService) -> None:
    event = next(event for event in fake.events() if event.kind == names.DECISION_RECORDED)
    with pytest.raises(IntegrityError, match=f"event {event.sequence} of {GROUP} is no promotion"):
        attestation.statement(fake.view().version(1), event, [[]])


def test_an_attestation_is_written_once(fake: FakeService) -> None:
    fake.project()
    before = dict(fake.s3.objects)
    fake.cursors.reset(GROUP, names.ATTESTATIONS)
    fake.project()
    assert fake.s3.objects == before


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"[1]", b"\xff"])
def test_an_object_that_somebody_else_wrote_holds_no_other_attestation_up(fake: FakeService, body: bytes) -> None:
    key = attestation.object_key(promotions(fake)[0])
    fake.s3.objects[key] = body
    assert fake.project() == []
    assert fake.s3.objects[key] == body
    assert all(fake.evidence.attestation(event) for event in promotions(fake)[1:])


def test_a_late_attestation_is_of_the_promotion_and_not_of_what_was_asked_since(fake: FakeService) -> None:
    others: dict[names.TargetName, Target] = {
        name: target for name, target in fake.targets.items() if name != names.ATTESTATIONS
    }
    fake.promote(2)
    fake.project(targets=others)
    fake.roll_back("prod", 1)
    fake.view().version(2)
    fake.revoke(2)
    fake.project()
    attested = {event.version for event in promotions(fake) if fake.evidence.attestation(event)}
    assert attested == {1, 2}
    [event] = [event for event in promotions(fake) if (event.version, event.environment) == (2, "prod")]
    found = attestation.read_predicate(opened(fake.evidence.attestation(event), fake.signer.holds))
    assert len(found.approvals) == 2


def test_without_a_list_of_members_the_artifact_is_the_only_subject() -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    fake.project()
    assert len(statement(fake, "dev")["subject"]) == 1
    assert not [key for key in fake.s3.objects if key.endswith(".sig")]


def test_a_list_of_members_that_is_another_than_the_approved_one_is_not_believed(fake: FakeService) -> None:
    fake.s3.objects[f"manifests/{MEMBERS.sha256}.json"] = b'[{"path":"evil.py","sha256":"00"}]'
    fake.project()
    assert len(statement(fake, "prod")["subject"]) == 1


def altered(envelope: dict[str, Any]) -> dict[str, Any]:
    payload = base64.b64decode(envelope["payload"]).replace(b'"prod"', b'"prox"')
    return {**envelope, "payload": base64.b64encode(payload).decode()}


@pytest.mark.parametrize("broken", [
    altered,
    lambda envelope: {**envelope, "payloadType": "text/plain"},
    lambda envelope: {**envelope, "signatures": []},
    lambda envelope: {**envelope, "signatures": [{"sig": "nothing"}]},
    lambda envelope: {**envelope, "payload": "§"},
    lambda envelope: {},
    lambda envelope: [],
    lambda envelope: None,
    lambda envelope: {**envelope, "payload": 7},
    lambda envelope: {**envelope, "signatures": 7},
])  # fmt: skip
def test_an_altered_or_foreign_attestation_is_refused(fake: FakeService, broken: Any) -> None:
    fake.project()
    [event] = [event for event in promotions(fake) if event.environment == "prod"]
    envelope = fake.evidence.attestation(event)
    with pytest.raises(IntegrityError):
        opened(broken(envelope), fake.signer.holds)
    with pytest.raises(IntegrityError):
        opened(envelope, LocalSigner().holds)


@pytest.mark.parametrize("payload", [{"_type": "x"}, {"_type": attestation.STATEMENT, "predicateType": "other"},
                                     {"_type": attestation.STATEMENT, "predicateType": attestation.PREDICATE}])  # fmt: skip
def test_a_statement_of_something_else_is_told_apart(fake: FakeService, payload: dict[str, Any]) -> None:
    signed = opened(seal(payload, fake.signer.sign, "key"), fake.signer.holds)
    with pytest.raises(IntegrityError):
        attestation.read_predicate(signed)


def test_the_model_signature_has_every_member_and_the_digest_over_them(fake: FakeService) -> None:
    fake.project()
    [event] = [event for event in promotions(fake) if event.environment == "prod"]
    bundle = fake.evidence.model_signature(event, 0)
    assert bundle is not None
    assert (
        bundle["verificationMaterial"]["publicKey"]["hint"]
        == hashlib.sha256(fake.signer.public_key.encode()).hexdigest()
    )
    found = opened(bundle["dsseEnvelope"], fake.signer.holds)
    assert [each["name"] for each in found["predicate"]["resources"]] == ["config.json", "weights/model.safetensors"]
    root = hashlib.sha256(b"\x11" * 32 + b"\x22" * 32).hexdigest()
    assert found["subject"] == [{"name": "model", "digest": {"sha256": root}}]


@pytest.mark.parametrize("payload", [b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff"])
def test_a_signed_payload_that_is_no_object_is_no_attestation(payload: bytes) -> None:
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"sig": "c2ln"}],
    }
    with pytest.raises(IntegrityError, match="its payload is no JSON object"):
        opened(envelope, lambda message, signature: True)
