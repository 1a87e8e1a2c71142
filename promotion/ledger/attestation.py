"""Attestation of a promotion: an in-toto statement about the artifact, for tools that don't know this service.

The subjects are the artifact and its members by SHA-256; the predicate says who approved the version for which environment,
when, and on what evidence. docs/attestation.schema.json is generated from `Predicate`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from promotion import names
from promotion.domain.gate_result import GateResult
from promotion.domain.model import Container, Metric, Request, VersionState
from promotion.domain.people import Actor
from promotion.errors import IntegrityError, require
from promotion.ledger.events import Event
from promotion.ledger.payloads import ModelPromoted

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:model-promotion:approval:1"
MODEL_PREDICATE = "https://model_signing/signature/v1.0"

Members = Sequence[Mapping[str, object]]


class Person(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person or principal, by the identity provider's subject or the IAM ARN, with how they were authenticated."""

    kind: str
    subject: str
    name: str = ""
    issuer: str = ""
    group: str = ""
    auth_time: datetime | None = None
    acr: str = ""
    amr: tuple[str, ...] = ()


class Approval(Struct, frozen=True, kw_only=True):
    """An approving vote; `evidence_digest` is the digest of the information that this person reviewed."""

    by: Person
    at: datetime
    reason: str
    evidence_digest: str


class Package(Struct, frozen=True, kw_only=True):
    """The model package in the registry; `manifests` are the SHA-256 of each artifact's list of members."""

    group: str
    version: int
    arn: str
    manifests: tuple[str, ...]
    requested_by: Person | None = None


class Measured(Struct, frozen=True, kw_only=True):
    """The evidence that was judged; `digest` is SHA-256 of its JSON in the ledger."""

    digest: str
    source: str
    environment: str | None = None
    run_id: str = ""
    metrics_uri: str = ""
    metrics_sha256: str = ""
    metrics: dict[str, Metric] = {}


class Place(Struct, frozen=True, kw_only=True):
    """The event of the ledger that promoted the version; its hash covers the whole history before it."""

    sequence: int
    event_id: str
    hash: str


class Predicate(Struct, frozen=True, kw_only=True):
    """Approval of a model package version for an environment."""

    schema: int = 1
    package: Package
    environment: str
    promoted_at: datetime
    request_id: str
    approvals: tuple[Approval, ...]
    broke_glass: bool
    evidence: Measured
    gates: tuple[GateResult, ...]
    policy_digest: str
    ledger: Place


def statement(state: VersionState, event: Event, members: Sequence[Members]) -> dict[str, object]:
    """Return the in-toto statement of a promotion.

    Args:
        state: The version as of the promotion.
        event: The event `Model Promoted`.
        members: The files of each container's artifact, as its manifest has them; empty if they aren't known.

    Raises:
        IntegrityError: The event is not a promotion of this version, or its request is not in the state.
    """
    promoted, environment = event.payload, require(event.environment, f"event {event.sequence}", "environment")
    request = state.requests.get(environment)
    if not isinstance(promoted, ModelPromoted) or request is None or request.id != promoted.request_id:
        raise IntegrityError(
            f"event {event.sequence} of {event.group} is no promotion of {state.version} as it stands."
        )
    containers = state.package.containers
    subjects: list[dict[str, object]] = []
    for number, (container, files) in enumerate(zip(containers, members, strict=True)):
        before = f"{number}/" if len(containers) > 1 else ""
        subjects.append({"name": container.model_data_url, "digest": {"sha256": container.sha256}})
        subjects += [{"name": before + str(member["path"]), "digest": {"sha256": member["sha256"]}} for member in files]
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": msgspec.to_builtins(_predicate(state, request, event, promoted)),
    }


def model_statement(container: Container, members: Members) -> dict[str, object]:
    """Return the OpenSSF model signing statement about an artifact's members, as they lie in a folder once unpacked.

    https://github.com/ossf/model-signing-spec: the subject's digest is SHA-256 over the members' digests, in order.
    """
    resources = [
        {"name": str(member["path"]), "algorithm": "sha256", "digest": str(member["sha256"])}
        for member in sorted(members, key=lambda member: str(member["path"]))
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources)).hexdigest()
    name = container.model_data_url.rpartition("/")[2].partition(".")[0] or "model"
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": MODEL_PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
            "resources": resources,
        },
    }


def read_predicate(found: Mapping[str, object]) -> Predicate:
    """Return the predicate of a statement.

    Raises:
        IntegrityError: The statement is not one of this service's, or can't be decoded.
    """
    if found.get("_type") != STATEMENT or found.get("predicateType") != PREDICATE:
        raise IntegrityError(f"this attests something else: {found.get('predicateType')!r}.")
    try:
        return msgspec.convert(found.get("predicate"), type=Predicate)
    except (msgspec.ValidationError, ValueError) as error:
        raise IntegrityError(f"this attestation can't be read: {error}.") from None


def schema() -> dict[str, object]:
    """Return the JSON Schema of the predicate."""
    made = msgspec.json.schema(Predicate)
    for each in made["$defs"].values():
        # Python 3.13 removes the indentation of docstrings, 3.11 doesn't.
        if "description" in each:
            each["description"] = inspect.cleandoc(each["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": PREDICATE, **made}


def schema_text() -> str:
    """Return docs/attestation.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def object_key(event: Event) -> str:
    """Key of a promotion's attestation in the evidence bucket."""
    return f"{_place(event)}.json"


def signature_key(event: Event, container: int) -> str:
    """Key of the model signature of a promoted version's container, in the evidence bucket."""
    return f"{_place(event)}.{container}.sig"


def _place(event: Event) -> str:
    # No folder has an environment's name, because that environment's state machine may write there.
    return f"{names.ATTESTATIONS}/{event.group}.v{event.version}/{event.sequence:010d}-{event.environment}"


def _predicate(state: VersionState, request: Request, event: Event, promoted: ModelPromoted) -> Predicate:
    package, evidence = state.package, request.evidence
    requester = package.requester
    return Predicate(
        package=Package(
            group=package.group,
            version=package.version,
            arn=package.arn,
            manifests=tuple(container.manifest_sha256 for container in package.containers),
            requested_by=_person(requester.actor) if requester else None,
        ),
        environment=request.environment,
        promoted_at=event.time,
        request_id=request.id,
        approvals=tuple(
            Approval(by=_person(vote.actor), at=vote.at, reason=vote.reason, evidence_digest=vote.evidence_digest)
            for vote in request.approvals
        ),
        broke_glass=promoted.broke_glass,
        evidence=Measured(
            digest=request.evidence_digest,
            source=evidence.source,
            environment=evidence.environment,
            run_id=evidence.run_id,
            metrics_uri=evidence.metrics_uri,
            metrics_sha256=evidence.metrics_sha256,
            metrics=evidence.metrics,
        ),
        gates=request.gates,
        policy_digest=event.policy_digest,
        ledger=Place(sequence=event.sequence, event_id=event.event_id, hash=event.hash),
    )


def _person(actor: Actor) -> Person:
    how = actor.authentication
    if how is None:
        return Person(kind=actor.kind, subject=actor.subject, name=actor.name)
    return Person(
        kind=actor.kind, subject=actor.subject, name=actor.name, issuer=how.issuer, group=how.group,
        auth_time=how.auth_time, acr=how.acr, amr=how.amr,
    )  # fmt: skip
