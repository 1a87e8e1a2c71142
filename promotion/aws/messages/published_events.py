"""Details of the events on the service's bus. docs/events/*.schema.json is generated from these structs.

`python -m tools.write_event_schemas` writes them. Each class's docstring is its schema's description.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from promotion import names
from promotion.ledger import payloads
from promotion.ledger.events import Event
from promotion.ledger.payloads import Unknown

SCHEMA = 1
Version = Annotated[int, Meta(ge=1)]
RequestId = Annotated[str, Meta(description="group:version:environment:attempt")]
GroupName = Annotated[str, Meta(pattern="^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")]
EnvironmentName = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")]
PackageArn = Annotated[str, Meta(pattern="^arn:aws[a-z-]*:sagemaker:")]
ActorSubject = Annotated[
    str, Meta(description="The person's subject at the identity provider, an IAM ARN, or `system`.")
]
Verdict = Literal["Approved", "Rejected"]


class Detail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something happened to a version."""

    schema: Annotated[Literal[1], Meta(description="Version of this shape.")]
    model_package_group: GroupName
    model_package_version: Version
    model_package_arn: PackageArn
    actor: ActorSubject
    time: Annotated[datetime, Meta(description="UTC.", tz=True)]
    sequence: Annotated[int, Meta(ge=1, description="Place in the ledger of this group.")]
    event_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="The same if the event is delivered twice.")]
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="Hash of the ledger's event.")]


class _InEnvironment(Detail, frozen=True, kw_only=True, forbid_unknown_fields=True):
    environment: EnvironmentName


class ApprovalRequested(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approval of a version for an environment was requested."""

    attempt: Annotated[int, Meta(ge=1)]
    expires_at: datetime


class DecisionRecorded(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person voted."""

    verdict: Verdict
    reason: str
    request_id: RequestId
    broke_glass: bool = False


class ModelPromoted(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version went live: the last vote that was needed is in."""

    request_id: RequestId
    approved_by: Annotated[tuple[str, ...], Meta(min_length=1)]
    replaces: Version | UnsetType = UNSET
    broke_glass: bool = False


class ModelRolledBack(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An environment went to a version that was live there before, back or forward."""

    from_version: Version | UnsetType = UNSET
    reason: str


class ModelRevoked(Detail, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version left every environment. `falls_back` is the version that each has now; null for none."""

    reason: str
    falls_back: dict[str, int | None]


class RequestExpired(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request expired without a decision. This is no rejection."""

    request_id: RequestId


class RequestSuperseded(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A newer request took the place of this one, which may never have been open."""

    request_id: RequestId
    by: (
        Annotated[
            str,
            Meta(
                description="The request that took its place; missing where there is none, as for an adopted version."
            ),
        ]
        | UnsetType
    ) = UNSET


class RequestWithdrawn(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pending request was withdrawn by the person named in `actor`."""

    request_id: RequestId
    reason: str | UnsetType = UNSET


class ApprovalBypassed(Detail, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The approval status was set without this service."""

    status: Verdict
    by: str


class InferenceCompleted(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run's evidence is recorded."""

    status: Literal["Completed", "Failed", "Missing"]
    run_id: str
    request_id: (
        Annotated[str, Meta(description="The open request that this evidence was added to, where there is one.")]
        | UnsetType
    ) = UNSET


class DriftDetected(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input of the live model no longer resembles its training data: once for an episode and source."""

    run_id: Annotated[str, Meta(description="The run that found it, where a run did.")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="What was found, in a sentence.")] | UnsetType = UNSET
    source: Annotated[str, Meta(description="`promotion.inference`, or `monitor` and the name of a schedule.")]
    drift: (
        Annotated[dict[str, float], Meta(description="Population stability indices by what was compared.")] | UnsetType
    ) = UNSET
    bound: Annotated[float, Meta(description="The largest that is no drift.")] | UnsetType = UNSET
    violations: (
        Annotated[int, Meta(ge=1, description="How many of its baseline's constraints Model Monitor found violated.")]
        | UnsetType
    ) = UNSET
    report: (
        Annotated[str, Meta(pattern="^s3://", description="Where Model Monitor's list of them lies.")] | UnsetType
    ) = UNSET
    retraining: (
        Annotated[
            str,
            Meta(
                pattern="^arn:aws[a-z-]*:sagemaker:",
                description="The pipeline that is being started, where one is due.",
            ),
        ]
        | UnsetType
    ) = UNSET
    retraining_held: Annotated[str, Meta(description="Why none is, where one is configured.")] | UnsetType = UNSET


class EndpointChanged(_InEnvironment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A real-time endpoint came to serve a version, failed to, or is gone; or an operator removed it, or asked for it again.

    `model_package_version` is the one that should serve, or that served last.
    """

    reason: Annotated[str, Meta(description="The operator's.")] | UnsetType = UNSET
    status: Annotated[
        Literal["InService", "Failed", "Withdrawn", "Removed", "Restored"],
        Meta(
            description="`Removed` and `Restored` are an operator's word; the others are what was seen of the endpoint."
        ),
    ]
    endpoint: (
        Annotated[str, Meta(pattern="^[a-z0-9](-*[a-z0-9]){0,62}$", description="Its name in SageMaker.")] | UnsetType
    ) = UNSET
    serves: (
        Annotated[int, Meta(ge=1, description="The version that answers there now, where one does.")] | UnsetType
    ) = UNSET
    problem: (
        Annotated[
            str,
            Meta(description="Why it does not serve what it should, in SageMaker's words where it has any."),
        ]
        | UnsetType
    ) = UNSET


DETAILS: dict[str, type[Detail]] = {
    names.APPROVAL_REQUESTED: ApprovalRequested,
    names.DECISION_RECORDED: DecisionRecorded,
    names.MODEL_PROMOTED: ModelPromoted,
    names.MODEL_ROLLED_BACK: ModelRolledBack,
    names.MODEL_REVOKED: ModelRevoked,
    names.REQUEST_EXPIRED: RequestExpired,
    names.REQUEST_SUPERSEDED: RequestSuperseded,
    names.REQUEST_WITHDRAWN: RequestWithdrawn,
    names.APPROVAL_BYPASSED: ApprovalBypassed,
    names.INFERENCE_COMPLETED: InferenceCompleted,
    names.DRIFT_DETECTED: DriftDetected,
    names.ENDPOINT_CHANGED: EndpointChanged,
}


def detail_of(event: Event, arn: str) -> Detail | None:
    """Return the published detail of an event of a version with this ARN; None for kinds that stay in the ledger."""
    payload = event.payload
    match payload:
        case (
            payloads.ApprovalRequested()
            | payloads.DecisionRecorded()
            | payloads.ModelPromoted()
            | payloads.ModelRolledBack()
            | payloads.ModelRevoked()
            | payloads.RequestExpired()
            | payloads.RequestSuperseded()
            | payloads.RequestWithdrawn()
            | payloads.ApprovalBypassed()
            | payloads.InferenceCompleted()
            | payloads.DriftDetected()
            | payloads.EndpointChanged()
        ):
            kind = DETAILS[event.kind]
        case (
            payloads.ModelRegistered()
            | payloads.RegistrationAsked()
            | payloads.ArtifactHashed()
            | payloads.ApproverReminded()
            | payloads.ModelAdopted()
            | payloads.PackageRemoved()
            | payloads.PackageChanged()
            | payloads.InferenceSkipped()
            | payloads.IntegrityBroken()
            | payloads.DriftEnded()
            | payloads.RetrainingStarted()
            | payloads.PolicyChanged()
            | payloads.SigningKeyChanged()
            | Unknown()
        ):
            return None
        case _:
            assert_never(payload)
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "model_package_group": event.group,
        "model_package_version": event.version,
        "model_package_arn": arn,
        "actor": event.actor.subject,
        "time": event.time,
        "sequence": event.sequence,
        "event_id": event.event_id,
        "hash": event.hash,
        "environment": event.environment,
        **msgspec.structs.asdict(payload),
    }
    optional = _optional(kind)
    return kind(
        **{
            name: value
            for name, value in fields.items()
            # Empty optional fields are left out.
            if name in kind.__struct_fields__ and not (name in optional and value in (None, "", {}))
        }
    )


@cache
def _optional(kind: type[Detail]) -> frozenset[str]:
    """Return the names of the optional fields; msgspec evaluates all annotations of a struct each time."""
    return frozenset(each.name for each in msgspec.structs.fields(kind) if each.default is UNSET)


def schema_of(kind: str) -> dict[str, object]:
    """The JSON Schema of a detail-type."""
    found = msgspec.json.schema(DETAILS[kind])
    (name,) = found["$defs"]
    body = found["$defs"][name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **body,
        "title": kind,
        "description": " ".join(body["description"].split()),
    }
