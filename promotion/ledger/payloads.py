"""Typed payloads of ledger events (the field `data`); the tag is the event's `kind`.

A field at its default is not written, so fields of later releases are in no earlier event. A default never changes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from promotion import names
from promotion.domain.gate_result import GateResult
from promotion.domain.model import Container, Evidence, Package
from promotion.domain.signing import Signature


class _Payload(Struct, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[names.EventKind]


class ModelRegistered(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A model package was registered, and `environments` are the ones it can be promoted to.

    `unasked` is the reason why approval is not requested: it was registered as Rejected, or SageMaker failed to create it.
    """

    kind: ClassVar[names.EventKind] = names.MODEL_REGISTERED
    package: Package
    environments: tuple[str, ...]
    unasked: str = ""


class RegistrationAsked(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """An operator requested a version that is older than the installation. The event has no version: none is recorded yet."""

    kind: ClassVar[names.EventKind] = names.REGISTRATION_ASKED
    version: int
    arn: str
    reason: str = ""


class ArtifactHashed(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The artifact was hashed, or hashing failed; with `hashing`, it is retried. `containers` have the digests."""

    kind: ClassVar[names.EventKind] = names.ARTIFACT_HASHED
    problem: str = ""
    hashing: bool = False
    containers: tuple[Container, ...] = ()


class ApprovalRequested(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """Approval was requested, with the evidence and gate results that approvers are shown."""

    kind: ClassVar[names.EventKind] = names.APPROVAL_REQUESTED
    attempt: int
    expires_at: datetime
    evidence: Evidence
    gates: tuple[GateResult, ...]
    changed: str = ""


class ApproverReminded(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The approvers of a pending request were reminded."""

    kind: ClassVar[names.EventKind] = names.APPROVER_REMINDED
    request_id: str


class DecisionRecorded(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """One vote; the event's `evidence_digest` is the digest of the evidence that the voter was shown."""

    kind: ClassVar[names.EventKind] = names.DECISION_RECORDED
    request_id: str
    verdict: str
    reason: str = ""
    quorum: int = 1
    votes: int = 0
    broke_glass: bool = False
    signature: Signature | None = None


class ModelPromoted(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`approved_by` are subjects, which never change, for scripts; `approvers` are names, for people."""

    kind: ClassVar[names.EventKind] = names.MODEL_PROMOTED
    request_id: str = ""
    approved_by: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    replaces: int | None = None
    broke_glass: bool = False
    order: tuple[str, ...] = ()


class ModelRolledBack(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """An environment went back from `from_version` to an earlier version."""

    kind: ClassVar[names.EventKind] = names.MODEL_ROLLED_BACK
    from_version: int | None = None
    reason: str = ""
    order: tuple[str, ...] = ()


class ModelRevoked(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`falls_back` maps each environment where it was live to the version live there instead, or null."""

    kind: ClassVar[names.EventKind] = names.MODEL_REVOKED
    reason: str = ""
    falls_back: dict[str, int | None] = {}
    order: tuple[str, ...] = ()


class ModelAdopted(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """An operator recorded a version that served before the service was installed."""

    kind: ClassVar[names.EventKind] = names.MODEL_ADOPTED
    reason: str = ""
    approved_by: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


class RequestExpired(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A pending request expired without a decision."""

    kind: ClassVar[names.EventKind] = names.REQUEST_EXPIRED
    request_id: str


class RequestSuperseded(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`by` is the id of the request that superseded it.

    With `evidence`, a newer version was live or pending already: the request was never open, and would have had this evidence.
    """

    kind: ClassVar[names.EventKind] = names.REQUEST_SUPERSEDED
    request_id: str
    by: str = ""
    evidence: Evidence | None = None
    gates: tuple[GateResult, ...] = ()
    reason: str = ""


class RequestWithdrawn(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A pending request was withdrawn by the service."""

    kind: ClassVar[names.EventKind] = names.REQUEST_WITHDRAWN
    request_id: str
    reason: str = ""


class ApprovalBypassed(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`seen` identifies the change, so that a second event about it is not recorded as a second bypass."""

    kind: ClassVar[names.EventKind] = names.APPROVAL_BYPASSED
    status: str
    by: str = ""
    expected: str = ""
    reverted: bool = False
    seen: str = ""


class PackageRemoved(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The version is no longer in the registry."""

    kind: ClassVar[names.EventKind] = names.PACKAGE_REMOVED
    by: str = ""


class PackageChanged(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A version changed in the registry.

    `changes` has for each field the ledger's and the registry's value. `package`, if set, replaces the version's package: the
    previous one had no approval. With `told`, the change is mailed, because it affects serving after an approval. With `anew`,
    the number now belongs to another package, which is registered next; `keeps` are the environments in which the version that
    went live before stays live.
    """

    kind: ClassVar[names.EventKind] = names.PACKAGE_CHANGED
    changes: dict[str, tuple[str, str]] = {}
    by: str = ""
    package: Package | None = None
    told: bool = False
    anew: bool = False
    keeps: tuple[str, ...] = ()


class InferenceCompleted(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`drifting` is None if the run measured no drift.

    `request_id` names the open request for the next environment that this evidence is added to, `gates` are its gate results.
    With `told`, this is mailed: the gate results have changed, or the run failed and the previous one did not.
    """

    kind: ClassVar[names.EventKind] = names.INFERENCE_COMPLETED
    evidence: Evidence
    status: str = "Completed"
    run_id: str = ""
    drifting: bool | None = None
    request_id: str = ""
    gates: tuple[GateResult, ...] = ()
    told: bool = False


class InferenceSkipped(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The version is not measured here, for `reason`. With `asks`, the next environment is requested without a run."""

    kind: ClassVar[names.EventKind] = names.INFERENCE_SKIPPED
    reason: str
    asks: bool = False


class IntegrityBroken(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The live artifact differs from the approved one."""

    kind: ClassVar[names.EventKind] = names.INTEGRITY_BROKEN
    problem: str = ""
    run_id: str = ""


class DriftDetected(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A source reported drift of the live version's input."""

    kind: ClassVar[names.EventKind] = names.DRIFT_DETECTED
    source: str = names.INFERENCE_SOURCE
    reason: str = ""
    run_id: str = ""
    drift: dict[str, float] = {}
    bound: float | None = None
    violations: int | None = None
    report: str = ""
    retraining: str = ""
    retraining_held: str = ""


class DriftEnded(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A source that had reported drift no longer reports any."""

    kind: ClassVar[names.EventKind] = names.DRIFT_ENDED
    source: str


class RetrainingStarted(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The retraining pipeline was started; `execution` is its ARN."""

    kind: ClassVar[names.EventKind] = names.RETRAINING_STARTED
    execution: str
    pipeline: str = ""


class EndpointChanged(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """A real-time endpoint was observed in another status, or removed or restored by an operator."""

    kind: ClassVar[names.EventKind] = names.ENDPOINT_CHANGED
    status: str
    endpoint: str = ""
    serves: int | None = None
    config: str = ""
    problem: str = ""
    reason: str = ""


class PolicyChanged(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """`policy` is the whole policy, without settings at their default; `after` is its SHA-256."""

    kind: ClassVar[names.EventKind] = names.POLICY_CHANGED
    before: str = ""
    after: str = ""
    policy: dict[str, Any] = {}


class SigningKeyChanged(_Payload, frozen=True, kw_only=True, omit_defaults=True):
    """The signing key was rotated. `signatures` are those of both keys over the same text: key id to base64."""

    kind: ClassVar[names.EventKind] = names.SIGNING_KEY_CHANGED
    before: str
    after: str
    signatures: dict[str, str] = {}


class Unknown(Struct, frozen=True):
    """An event of a kind that only a later release knows. It changes no state here."""

    data: dict[str, Any]


Payload = (
    ModelRegistered
    | RegistrationAsked
    | ArtifactHashed
    | ApprovalRequested
    | ApproverReminded
    | DecisionRecorded
    | ModelPromoted
    | ModelRolledBack
    | ModelRevoked
    | ModelAdopted
    | RequestExpired
    | RequestSuperseded
    | RequestWithdrawn
    | ApprovalBypassed
    | PackageRemoved
    | PackageChanged
    | InferenceCompleted
    | InferenceSkipped
    | IntegrityBroken
    | DriftDetected
    | DriftEnded
    | RetrainingStarted
    | EndpointChanged
    | PolicyChanged
    | SigningKeyChanged
)
PAYLOADS: dict[str, type[Payload]] = {each.kind: each for each in Payload.__args__}


def read_payload(kind: str, data: dict[str, Any]) -> Payload | Unknown:
    """Decode an event's data by its kind; fields that are unknown to this release are ignored.

    Raises:
        ValidationError: a field is missing, or of another type.
    """
    found = PAYLOADS.get(kind)
    return msgspec.convert(data, found) if found is not None else Unknown(data)


def recorded(kind: str, data: Any) -> dict[str, Any]:
    """Return `data`, a payload or a dict with the same fields, as the plain data that is stored.

    Raises:
        TypeError: its kind has no such field, so no reader would decode it.
        ValidationError: a field is missing, or of another type.
    """
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(data))
    found = PAYLOADS.get(kind)
    if found is None:
        return plain
    if unknown := sorted(plain.keys() - set(found.__struct_fields__)):
        raise TypeError(f"{kind!r} has no field {', '.join(unknown)}: see promotion/ledger/payloads.py.")
    return dict(msgspec.json.decode(msgspec.json.encode(msgspec.convert(plain, found))))
