"""SageMaker's real-time endpoints: the observed state, and idempotent steps towards the wanted state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from promotion import names
from promotion.config.settings import Endpoint
from promotion.domain.endpoint_plan import (
    TAG_APPROVAL,
    TAG_ATTEMPT,
    TAG_ENVIRONMENT,
    TAG_GROUP,
    TAG_VERSION,
    Observed,
    Step,
    Wanted,
    alarms,
    deployment,
    every_alarm,
)
from promotion.errors import require

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DeploymentConfigTypeDef, TagTypeDef

# Errors that a person must repair; after any other error the event is delivered again.
REFUSALS = frozenset({"ResourceLimitExceeded", "ValidationException", "AccessDeniedException"})


class Endpoints:
    """The endpoints of one environment, in its account."""

    def __init__(self, sagemaker: SageMakerClient, cloudwatch: CloudWatchClient, prefix: str, environment: str) -> None:
        self._sagemaker = sagemaker
        self._cloudwatch = cloudwatch
        self._prefix = prefix
        self._environment = environment

    def find(self, endpoint: str) -> Observed | None:
        """Return the current state of an endpoint; None if it doesn't exist."""
        try:
            described = self._sagemaker.describe_endpoint(EndpointName=endpoint)
        except ClientError as error:
            if _missing(error):
                return None
            raise
        tags = self._tags(described["EndpointArn"])
        config = str(described.get("EndpointConfigName", ""))
        ours = tags.get(TAG_ENVIRONMENT) == self._environment and TAG_GROUP in tags
        return Observed(
            status=described["EndpointStatus"],
            config_name=config,
            problem=str(described.get("FailureReason") or ""),
            ours=ours,
            attempted=tags.get(TAG_ATTEMPT, ""),
            version=self._version_of(config) if ours else None,
        )

    def take(
        self, step: Step, wanted: Wanted | None, endpoint: str, settings: Endpoint | None, *, revoked: bool
    ) -> None:
        """Take one step; "wait", "settled", "failed" and "foreign" need no call."""
        if step == "delete":
            self._delete(endpoint)
        elif step in ("create", "update"):
            wanted = require(wanted, f"the step to {step} {endpoint}", "model")
            settings = require(settings, f"the step to {step} {endpoint}", "settings")
            self._make_ready(wanted, settings)
            if step == "create":
                self._create(wanted)
            else:
                self._update(wanted, settings, revoked=revoked)

    def tidy(self, group: str, keep: str) -> int:
        """Delete a group's models and configurations from before `keep`, or all if it is empty; return their number.

        Those of a later event stay, because a concurrent process may be about to serve them.
        """
        stem = names.hosted_stem(self._prefix, self._environment, group)
        last = _sequence(keep) if keep else None
        old = [name for name in self._named(stem) if name != keep and (last is None or _sequence(name) <= last)]
        for name in old:
            _ignoring_missing(self._sagemaker.delete_endpoint_config, EndpointConfigName=name)
            _ignoring_missing(self._sagemaker.delete_model, ModelName=name)
        return len(old)

    def silence(self, endpoint: str) -> None:
        """Delete an endpoint's alarms."""
        self._cloudwatch.delete_alarms(AlarmNames=every_alarm(endpoint))

    def _make_ready(self, wanted: Wanted, settings: Endpoint) -> None:
        """Create the model, its configuration, and the alarms that can roll back a deployment."""
        tags = _tag_list(wanted.tags)
        _ignoring_existing(self._sagemaker.create_model, **wanted.model, Tags=tags)
        _ignoring_existing(self._sagemaker.create_endpoint_config, **wanted.config, Tags=tags)
        for alarm in alarms(wanted.endpoint, wanted.name, settings):
            self._cloudwatch.put_metric_alarm(**alarm)

    def _create(self, wanted: Wanted) -> None:
        tags = _tag_list({**_of_endpoint(wanted), TAG_ATTEMPT: wanted.name})
        _ignoring_existing(
            self._sagemaker.create_endpoint,
            EndpointName=wanted.endpoint,
            EndpointConfigName=wanted.name,
            Tags=tags,
        )

    def _update(self, wanted: Wanted, settings: Endpoint, *, revoked: bool) -> None:
        names_ = [alarm["AlarmName"] for alarm in alarms(wanted.endpoint, wanted.name, settings)]
        answer = self._sagemaker.update_endpoint(
            EndpointName=wanted.endpoint,
            EndpointConfigName=wanted.name,
            DeploymentConfig=cast("DeploymentConfigTypeDef", deployment(settings, names_, revoked=revoked)),
        )
        # After the update, not before, so that a process that stops in between tries again rather than skip the
        # attempt.
        self._sagemaker.add_tags(ResourceArn=answer["EndpointArn"], Tags=_tag_list({TAG_ATTEMPT: wanted.name}))

    def _delete(self, endpoint: str) -> None:
        try:
            self._sagemaker.delete_endpoint(EndpointName=endpoint)
        except ClientError as error:
            # SageMaker refuses during a change; the event at the change's end, or the sweep, tries again.
            if not passes(error):
                raise

    def _version_of(self, config: str) -> int | None:
        """Return the version of a configuration; None if it is gone or not made by this service."""
        try:
            arn = self._sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
        except ClientError as error:
            if _missing(error):
                return None
            raise
        version = self._tags(arn).get(TAG_VERSION, "")
        return int(version) if version.isdecimal() else None

    def _named(self, stem: str) -> Iterator[str]:
        """List this service's names with a stem: of configurations, and of models without a configuration."""
        ours = re.compile(rf"{re.escape(stem)}-\d+-[0-9a-f]{{8}}")
        found: set[str] = set()
        for configs in self._sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=stem):
            found |= {each["EndpointConfigName"] for each in configs["EndpointConfigs"]}
        for models in self._sagemaker.get_paginator("list_models").paginate(NameContains=stem):
            found |= {each["ModelName"] for each in models["Models"]}
        return iter(sorted(name for name in found if ours.fullmatch(name)))

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def _sequence(name: str) -> int:
    """Return the ledger event for which this service made a model or configuration."""
    return int(name.rsplit("-", 2)[1])


def passes(error: ClientError) -> bool:
    """Return True for a conflict with a concurrent change; the next run succeeds, or has nothing to do."""
    return _missing(error) or _in_progress(error)


def _of_endpoint(wanted: Wanted) -> dict[str, str]:
    """Return the tags of an endpoint. It serves many versions, so only its configuration's tags name a version."""
    return {key: wanted.tags[key] for key in (TAG_GROUP, TAG_ENVIRONMENT)}


def _tag_list(tags: Mapping[str, str]) -> list[TagTypeDef]:
    # A tag's value may not have all that an approval's id may: https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
    return [
        {"Key": key, "Value": re.sub(r"[^\w .:/=+@-]", "-", value)[:256] if key == TAG_APPROVAL else value}
        for key, value in tags.items()
    ]


def _ignoring_existing(call: Callable[..., object], **given: object) -> None:
    try:
        call(**given)
    except ClientError as error:
        if "already exist" not in error.response["Error"].get("Message", ""):
            raise


def _ignoring_missing(call: Callable[..., object], **given: object) -> None:
    try:
        call(**given)
    except ClientError as error:
        if not _missing(error):
            raise


def _missing(error: ClientError) -> bool:
    """Return True if a resource doesn't exist; SageMaker's error code is generic, so the message is compared."""
    said = error.response["Error"]
    return said["Code"] in ("ValidationException", "ResourceNotFound") and "could not find" in said["Message"].lower()


def _in_progress(error: ClientError) -> bool:
    said = error.response["Error"]
    return said["Code"] == "ValidationException" and "in-progress" in said["Message"].lower().replace(
        "in progress", "in-progress"
    )
