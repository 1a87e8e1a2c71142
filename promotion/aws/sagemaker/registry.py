"""The SageMaker Model Registry: reads packages and updates them from the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import Container, Package, VersionState, registry_status
from promotion.domain.package_changes import changes, is_served
from promotion.domain.package_sources import beside_artifact
from promotion.domain.people import Actor, Requester
from promotion.domain.registration import attached_to, baseline_of, described, lacks_room, licence_of, object_at
from promotion.domain.sagemaker_model import unservable
from promotion.errors import Invalid
from promotion.ledger.events import Event, version_of
from promotion.ledger.fold import touched as touched_by
from promotion.ledger.payloads import ApprovalBypassed, ApprovalRequested, DecisionRecorded
from promotion.ledger.snapshot import GroupSnapshot
from promotion.rendering.documents.card import card_sections, made_by

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

_NOT_IN_SOURCE_IDENTITY = re.compile(r"[^\w+=,.@-]", re.ASCII)


class RegistryTarget:
    """Write approval status, one metadata field per environment, and the life cycle, if they have changed.

    `client_for` returns a SageMaker client; CloudTrail records its calls with the given source identity.
    """

    one_by_one = False

    def __init__(self, client_for: Callable[[str], SageMakerClient], environments: Sequence[str]) -> None:
        self._client_for = client_for
        self._environments = tuple(environments)

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        refused: list[ClientError] = []
        for number, (event, decides) in _touched(view, events, self._environments[0]).items():
            state = view.version(number)
            try:
                client = self._client_for(source_identity(event.actor))
                self._bring(client, state, decides=decides)
            except ClientError as error:
                # A package that was deleted from the registry must not block its group; `verify` reports it.
                if not is_gone(error):
                    refused.append(error)
        if refused:
            # Raised only after all other versions are written.
            raise refused[0]

    def repair(self, state: VersionState) -> None:
        """Write a version's registry entry from the ledger, including its status."""
        self._bring(self._client_for("system"), state, decides=True)

    def found(self, state: VersionState) -> dict[str, str] | None:
        """Return the registry's fields that the ledger governs, as a flat dict; None if the version was deleted."""
        try:
            found = self._client_for("system").describe_model_package(ModelPackageName=state.package.arn)
        except ClientError as error:
            if is_gone(error):
                return None
            raise
        if _is_another(found, state):
            return None
        metadata, cycle = object_at(found, "CustomerMetadataProperties"), object_at(found, "ModelLifeCycle")
        said = {"ModelApprovalStatus": str(found.get("ModelApprovalStatus"))}
        fields = () if state.package.no_room else state.statuses
        said |= {f"CustomerMetadataProperties.{name}": str(metadata.get(name)) for name in fields}
        if state.furthest:
            said |= {f"ModelLifeCycle.{name}": str(cycle.get(name)) for name in ("Stage", "StageStatus")}
        return said

    def expected(self, state: VersionState) -> dict[str, str]:
        """Return the expected fields, in the same form."""
        wanted = self.wanted(state)
        said = {"ModelApprovalStatus": str(wanted["ModelApprovalStatus"])}
        fields = wanted["CustomerMetadataProperties"]
        said |= {f"CustomerMetadataProperties.{name}": value for name, value in fields.items()}
        said |= {f"ModelLifeCycle.{name}": value for name, value in wanted.get("ModelLifeCycle", {}).items()}
        return said

    def wanted(self, state: VersionState) -> dict[str, Any]:
        """Return the fields that the registry should have for a version."""
        wanted: dict[str, Any] = {
            "ModelApprovalStatus": registry_status(state, self._environments[0]),
            "CustomerMetadataProperties": {} if state.package.no_room else dict(state.statuses),
        }
        if state.furthest:
            wanted["ModelLifeCycle"] = {
                "Stage": state.furthest,
                "StageStatus": state.statuses.get(state.furthest, names.PENDING),
            }
        return wanted

    def _bring(self, client: SageMakerClient, state: VersionState, *, decides: bool) -> None:
        arn = state.package.arn
        found = client.describe_model_package(ModelPackageName=arn)
        if _is_another(found, state):
            # The group was deleted and created again; the ledger's state is about another package.
            return
        wanted = self.wanted(state)
        reviewed = wanted["ModelApprovalStatus"] != names.APPROVED or not _serves_another(found, state)
        if decides and reviewed and found.get("ModelApprovalStatus") != wanted["ModelApprovalStatus"]:
            # First and separately, so that a field that SageMaker refuses, such as a 51st property, doesn't block a
            # revocation.
            client.update_model_package(
                ModelPackageArn=arn,
                ModelApprovalStatus=wanted["ModelApprovalStatus"],
                ApprovalDescription=_description(state, self._environments[0]),
            )
        changes: dict[str, Any] = {}
        before = object_at(found, "CustomerMetadataProperties")
        fields = {k: v for k, v in wanted["CustomerMetadataProperties"].items() if before.get(k) != v}
        # Without room, as metadata may be filled since the registration, `verify` reports the fields.
        if fields and not lacks_room(before, tuple(fields)):
            changes["CustomerMetadataProperties"] = fields
        cycle = wanted.get("ModelLifeCycle")
        known = object_at(found, "ModelLifeCycle")
        if cycle and (known.get("Stage"), known.get("StageStatus")) != (cycle["Stage"], cycle["StageStatus"]):
            changes["ModelLifeCycle"] = cycle
        if changes:
            client.update_model_package(ModelPackageArn=arn, **changes)


def _is_another(found: Mapping[str, object], state: VersionState) -> bool:
    """Return True if a described package was created at another time than the version's package."""
    made, known = found.get("CreationTime"), state.package.created_at
    return made is not None and known is not None and made != known


def _serves_another(found: Mapping[str, object], state: VersionState) -> bool:
    """Return True if the registry has other containers than the approved ones, which were not reviewed."""
    if "InferenceSpecification" not in found:
        return False
    described = replace(state.package, containers=_containers(found))
    return any(map(is_served, changes(state.package, described, ())))


def is_gone(error: ClientError) -> bool:
    """Return True if SageMaker reports that the package doesn't exist."""
    found = error.response["Error"]
    said = found.get("Message", "")
    missing = "does not exist" in said or "not found" in said
    return found["Code"] in ("ValidationException", "ResourceNotFound") and missing


def _touched(view: GroupSnapshot, events: Sequence[Event], first: str) -> dict[int, tuple[Event, bool]]:
    """Return the versions whose registry entry may have changed, the last event that changed it, and `decides`.

    `decides` is True if the approval status may have changed, too.

    Only events about the `first` environment, revocations, adoptions and reversions change it. Other events don't, so
    that they don't approve a version again that somebody has just rejected in Studio.
    """
    touched: dict[int, tuple[Event, bool]] = {}
    # A revocation is processed before all other events.
    for event in sorted(events, key=lambda event: event.kind != names.MODEL_REVOKED):
        payload = event.payload
        decides = (
            event.kind in (names.MODEL_REVOKED, names.MODEL_ADOPTED)
            or (event.kind in (names.DECISION_RECORDED, names.MODEL_PROMOTED) and event.environment == first)
            # A repeated request after a rejection makes the version pending again.
            or (isinstance(payload, ApprovalRequested) and event.environment == first and payload.attempt > 1)
            or (isinstance(payload, ApprovalBypassed) and payload.reverted)
        )
        if isinstance(payload, ApprovalRequested | DecisionRecorded) and view.version(version_of(event)).approvals:
            # The status stays Approved; a rejection outside this service must not be overwritten by these events.
            decides = False
        for number in touched_by(event):
            own = decides and number == event.version
            touched[number] = (event, own or touched.get(number, (event, False))[1])
    return touched


def source_identity(actor: Actor) -> str:
    """Return an actor as an STS source identity: 2 to 64 of `[\\w+=,.@-]`.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    if actor.kind == "system":
        return "system"
    text = _NOT_IN_SOURCE_IDENTITY.sub(
        "-", actor.subject.rpartition("/")[2] if actor.kind == "operator" else actor.subject
    )
    return text[:64].ljust(2, "-")


def _description(state: VersionState, first: str) -> str:
    approval = state.approvals.get(first)
    if state.revoked:
        return "Revoked by the promotion service."
    if registry_status(state, first) == names.PENDING:
        return f"Asked again for {first}."[:1024]
    by = f" by {', '.join(approval.approved_by)}" if approval else ""
    return f"Decided for {first}{by}."[:1024]


def describe(
    client: SageMakerClient, arn: str, requesters: Mapping[str, str], environments: Sequence[str] = ()
) -> tuple[Package, dict[str, Any]]:
    """Return a package as the registry describes it, before its artifact is hashed, and the raw description.

    `environments` are those that each need a field in its metadata.

    Raises:
        Invalid: the package is not a version in a group; the error names the field.
    """
    found: dict[str, Any] = dict(client.describe_model_package(ModelPackageName=arn))
    group, version = found.get("ModelPackageGroupName"), found.get("ModelPackageVersion")
    if not isinstance(group, str) or not isinstance(version, int):
        raise Invalid("ModelPackageGroupName", f"{arn} is not a version in a model package group.")
    containers = _containers(found)
    metadata = made_by(found.get("MetadataProperties"))
    metadata |= {str(key): str(value) for key, value in (found.get("CustomerMetadataProperties") or {}).items()}
    package = Package(
        group=group,
        version=version,
        arn=found["ModelPackageArn"],
        containers=containers,
        content_types=tuple((found.get("InferenceSpecification") or {}).get("SupportedContentTypes") or ()),
        response_types=tuple((found.get("InferenceSpecification") or {}).get("SupportedResponseMIMETypes") or ()),
        requester=_requester(found.get("CreatedBy") or {}, metadata, requesters),
        description=str(found.get("ModelPackageDescription") or "")[:4000],
        created_at=found.get("CreationTime"),
        metadata=metadata,
        card=card_sections(found.get("ModelCard")),
        licence=licence_of(metadata),
        attached=attached_to(found),
        baseline_uri=baseline_of(found),
        described=described(found),
        no_room=lacks_room(found.get("CustomerMetadataProperties") or {}, environments),
    )
    if not containers:
        # The version is recorded anyway; page and mail show the problem, and it can't be approved.
        package = replace(package, problem="InferenceSpecification.Containers: the package has no container to serve.")
    elif problem := (
        beside_artifact((found["InferenceSpecification"] or {})["Containers"]) or unservable(package.containers)
    ):
        package = replace(package, problem=problem)
    return package, found


def _containers(found: Mapping[str, Any]) -> tuple[Container, ...]:
    """Return the containers of a described package, before their artifacts are hashed."""
    return tuple(
        Container(
            image=container.get("Image", ""),
            image_digest=container.get("ImageDigest", ""),
            model_data_url=container.get("ModelDataUrl")
            or ((container.get("ModelDataSource") or {}).get("S3DataSource") or {}).get("S3Uri", ""),
            environment=dict(container.get("Environment") or {}),
        )
        for container in (found.get("InferenceSpecification") or {}).get("Containers") or []
    )


def _requester(
    created_by: Mapping[str, Any], metadata: Mapping[str, str], requesters: Mapping[str, str]
) -> Requester | None:
    """Return the requester: CreatedBy's source identity or profile, else the metadata `requested_by`, unverified.

    `requesters` maps a profile name, ARN or declared name to the provider's subject or mail address. All names in the
    registry count: with a shared profile and `requested_by`, the requester has both names.
    """
    identity = created_by.get("IamIdentity") or {}
    arn = str(identity.get("Arn") or "")
    vouched = [str(name) for name in (identity.get("SourceIdentity"), created_by.get("UserProfileName")) if name]
    if arn in requesters:
        vouched.append(arn)
    declared = metadata.get("requested_by", "").strip()
    everyone = [*vouched, *([declared] if declared else [])]
    if everyone and arn and (":user/" in arn or "@" in arn):
        # An IAM user, or a session named after a person, is one more name of the requester.
        everyone.append(arn)
    if not everyone:
        return None
    first, *others = everyone
    return Requester(
        actor=_person(first, requesters),
        declared_by="identity" if vouched else "self",
        also=tuple(dict.fromkeys(requesters.get(name, name) for name in others if name != first)),
    )


def _person(name: str, requesters: Mapping[str, str]) -> Actor:
    subject = requesters.get(name, name)
    return Actor(kind="requester", subject=subject, name=name, email=subject if "@" in subject else "")
