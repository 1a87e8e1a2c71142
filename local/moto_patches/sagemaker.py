"""SageMaker's Model Registry: partial updates, default status, the caller, and the event after a change."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import ModelPackage, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from local.aws import callers

# Called with every package that was created or updated; the local service sends EventBridge's event then.
listeners: list[Callable[[Any], None]] = []

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateModelPackage.html
_PROPERTY_PUNCTUATION = frozenset("_.:/=+-@")
_STAGE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_UPDATED = {
    "ApprovalDescription": "approval_description",
    "InferenceSpecification": "inference_specification",
    "SourceUri": "source_uri",
    "ModelCard": "model_card",
}


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    describe = ModelPackage.gen_response_object
    create = SageMakerModelBackend.create_model_package

    def gen_response_object(self: Any) -> dict[str, Any]:
        """Add the fields that moto omits: ModelLifeCycle, SourceUri and ModelCard."""
        response: dict[str, Any] = describe(self)
        for name, attribute in (
            ("ModelLifeCycle", "model_life_cycle"),
            ("SourceUri", "source_uri"),
            ("ModelCard", "model_card"),
        ):
            if getattr(self, attribute, None) is not None:
                response[name] = getattr(self, attribute)
        return response

    def create_model_package(self: Any) -> ActionResult:
        """Set the default status PendingManualApproval, check metadata and life cycle, and store the caller."""
        given = json.loads(self.body)
        _check(given)
        arguments = {
            "model_package_name": given.get("ModelPackageName"),
            "model_package_group_name": given.get("ModelPackageGroupName"),
            "model_package_description": given.get("ModelPackageDescription"),
            "inference_specification": given.get("InferenceSpecification"),
            "validation_specification": given.get("ValidationSpecification"),
            "source_algorithm_specification": given.get("SourceAlgorithmSpecification"),
            "certify_for_marketplace": given.get("CertifyForMarketplace", False),
            "tags": given.get("Tags"),
            "model_approval_status": given.get("ModelApprovalStatus", "PendingManualApproval"),
            "metadata_properties": given.get("MetadataProperties"),
            "model_metrics": given.get("ModelMetrics"),
            "client_token": given.get("ClientToken"),
            "customer_metadata_properties": given.get("CustomerMetadataProperties"),
            "drift_check_baselines": given.get("DriftCheckBaselines"),
            "domain": given.get("Domain"),
            "task": given.get("Task"),
            "sample_payload_url": given.get("SamplePayloadUrl"),
            "additional_inference_specifications": given.get("AdditionalInferenceSpecifications"),
        }
        arn = create_numbered(self.sagemaker_backend, arguments)
        package = self.sagemaker_backend.model_packages[arn]
        package.model_life_cycle = given.get("ModelLifeCycle")
        package.source_uri = given.get("SourceUri")
        package.model_card = given.get("ModelCard")
        if (caller := callers.current.get()) is not None:
            package.created_by = caller.identity()
        _tell(package)
        return ActionResult({"ModelPackageArn": arn})

    def update_model_package(self: Any) -> ActionResult:
        """Update partially: fields that aren't sent stay unchanged, and metadata is merged by key."""
        given = json.loads(self.body)
        _check(given)
        package = self.sagemaker_backend.describe_model_package(given["ModelPackageArn"])
        if "ModelApprovalStatus" in given:
            package.set_model_approval_status(given["ModelApprovalStatus"])
        for name, attribute in _UPDATED.items():
            if name in given:
                setattr(package, attribute, given[name])
        merged = {**(package.customer_metadata_properties or {}), **given.get("CustomerMetadataProperties", {})}
        for key in given.get("CustomerMetadataPropertiesToRemove", ()):
            merged.pop(key, None)
        _check_properties(merged)
        package.customer_metadata_properties = merged or None
        if "ModelLifeCycle" in given:
            package.model_life_cycle = given["ModelLifeCycle"]
        if "AdditionalInferenceSpecificationsToAdd" in given:
            package.add_additional_inference_specifications(given["AdditionalInferenceSpecificationsToAdd"])
        package.last_modified_time = utcnow()
        caller = callers.current.get()
        package.last_modified_by = caller.identity() if caller is not None else package.created_by
        _tell(package)
        return ActionResult({"ModelPackageArn": package.arn})

    def create_numbered(backend: SageMakerModelBackend, arguments: dict[str, Any]) -> str:
        """Count deleted versions, too: moto numbers a version by the number of versions, and would repeat a number."""
        group = backend.model_package_groups.get(arguments["model_package_group_name"])
        gone = {f"deleted/{number}": package for number, package in enumerate(getattr(group, "deleted", ()))}
        backend.model_packages.update(gone)
        try:
            return str(create(backend, **arguments))
        finally:
            for key in gone:
                del backend.model_packages[key]

    def delete_model_package(self: Any) -> ActionResult:
        """Delete a package; no other version of the group gets its number."""
        backend = self.sagemaker_backend
        package = backend.describe_model_package(json.loads(self.body)["ModelPackageName"])
        del backend.model_packages[package.arn]
        for name, arn in list(backend.model_package_name_mapping.items()):
            if arn == package.arn:
                del backend.model_package_name_mapping[name]
        group = backend.model_package_groups.get(package.model_package_group_name)
        if group is not None:
            group.deleted = [*getattr(group, "deleted", ()), package]
        return ActionResult({})

    def delete_model_package_group(self: Any) -> ActionResult:
        """Delete a group if it is empty; a new group with the same name numbers from 1."""
        backend = self.sagemaker_backend
        name = str(json.loads(self.body)["ModelPackageGroupName"]).rpartition("/")[2]
        backend.describe_model_package_group(name)
        if any(package.model_package_group_name == name for package in backend.model_packages.values()):
            raise ValidationError(f"Model Package Group {name} still contains Model Packages, and can not be deleted.")
        del backend.model_package_groups[name]
        return ActionResult({})

    ModelPackage.gen_response_object = gen_response_object
    SageMakerResponse.delete_model_package = delete_model_package
    SageMakerResponse.delete_model_package_group = delete_model_package_group
    SageMakerResponse.create_model_package = create_model_package
    SageMakerResponse.update_model_package = update_model_package


def state_change(package: Any) -> dict[str, Any]:
    """Return the detail of `SageMaker Model Package State Change` for a package's current state."""
    described = package.gen_response_object()
    containers = (described.get("InferenceSpecification") or {}).get("Containers", [])
    shown = ("Image", "ImageDigest", "ModelDataUrl", "ModelDataETag", "Environment")
    detail: dict[str, Any] = {
        "ModelPackageGroupName": described.get("ModelPackageGroupName"),
        "ModelPackageName": described.get("ModelPackageName"),
        "ModelPackageVersion": described.get("ModelPackageVersion"),
        "ModelPackageArn": described["ModelPackageArn"],
        "ModelPackageDescription": described.get("ModelPackageDescription"),
        "CreationTime": described["CreationTime"],
        "LastModifiedTime": described.get("LastModifiedTime", described["CreationTime"]),
        "InferenceSpecification": {
            "Containers": [{key: container[key] for key in shown if key in container} for container in containers]
        },
        "ModelPackageStatus": described["ModelPackageStatus"],
        "ModelApprovalStatus": described.get("ModelApprovalStatus"),
        "ApprovalDescription": described.get("ApprovalDescription"),
        "CustomerMetadataProperties": described.get("CustomerMetadataProperties"),
        "MetadataProperties": described.get("MetadataProperties"),
        "ModelMetrics": described.get("ModelMetrics"),
        "ModelLifeCycle": described.get("ModelLifeCycle"),
    }
    # Times are milliseconds since 1970 in this event.
    for name in ("CreationTime", "LastModifiedTime"):
        detail[name] = int(detail[name].timestamp() * 1000)
    return {key: value for key, value in detail.items() if value is not None}


def _tell(package: Any) -> None:
    for listener in listeners:
        listener(package)


def _check(given: Mapping[str, Any]) -> None:
    if len(given.get("ApprovalDescription", "")) > 1024:
        raise ValidationError("approvalDescription: Member must have length less than or equal to 1024")
    _check_properties(given.get("CustomerMetadataProperties") or {})
    life_cycle = given.get("ModelLifeCycle")
    if life_cycle is not None:
        for key in ("Stage", "StageStatus"):
            if not _STAGE.fullmatch(str(life_cycle.get(key, ""))):
                raise ValidationError(f"modelLifeCycle.{key}: must match [a-zA-Z0-9](-*[a-zA-Z0-9]){{0,62}}")


def _check_properties(properties: Mapping[str, str]) -> None:
    """Check metadata: at most 50 keys of up to 128 and values of up to 256 letters, spaces, digits and `_.:/=+-@`."""
    if len(properties) > 50:
        raise ValidationError("customerMetadataProperties: at most 50 entries")
    for key, value in properties.items():
        for text, most in ((key, 128), (value, 256)):
            allowed = all(unicodedata.category(c)[0] in "LZN" or c in _PROPERTY_PUNCTUATION for c in text)
            if len(text) > most or not allowed or (text is key and not text):
                raise ValidationError(
                    f"1 validation error detected: Value '{text}' at 'customerMetadataProperties' failed to satisfy "
                    f"constraint: at most {most} characters of [\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]"
                )
