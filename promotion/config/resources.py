"""Checks of the form of AWS resource names in `promotion.toml`, so that no deployment fails on them half-way.

They don't check whether the resource exists, which needs access to AWS.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import NoReturn, Protocol

from promotion.config.settings import Config

_REGION = r"[a-z]{2}(-[a-z]+)+-\d"
_ACCOUNT = r"\d{12}"
REGION = re.compile(_REGION)
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
# IAM accepts neither an alias nor a bare key id as a policy's resource.
KEY = re.compile(rf"arn:aws[\w-]*:kms:{_REGION}:{_ACCOUNT}:key/[A-Za-z0-9-]+")
ROLE = re.compile(rf"arn:aws[\w-]*:iam::{_ACCOUNT}:role/[\w+=,.@/-]+")
CERTIFICATE = re.compile(rf"arn:aws[\w-]*:acm:{_REGION}:{_ACCOUNT}:certificate/[A-Za-z0-9-]+")
SUBNET = re.compile(r"subnet-[0-9a-z]+")
SECURITY_GROUP = re.compile(r"sg-[0-9a-z]+")
AMI = re.compile(r"[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*")
SCHEDULE = re.compile(r"(rate|cron)\([^()]+\)")
IMAGE = re.compile(r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9._-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]+)?")
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
PRINCIPAL = re.compile(r"arn:[\w*-]+:(iam|sts)::[\d*]+:.+|\*")
# Refuses an issuer with a placeholder from the documentation, which would otherwise fail only at the first sign-in.
ISSUER = re.compile(r"https?://[\w.:-]+(/[^\s<>{}…]*)?")

# Setting, value, required pattern, and the pattern's name in messages.
Named = tuple[str, str, re.Pattern[str], str]


class Refuse(Protocol):
    """A function that raises Invalid with a place in the file and a reason."""

    def __call__(self, place: str, reason: str) -> NoReturn:
        """Raise the error for a setting, given its place in the file and the reason."""


def check(config: Config, refuse: Refuse) -> None:
    """Refuse the first name that doesn't have its required form."""
    for place, value, pattern, kind in _names(config):
        if not pattern.fullmatch(value):
            refuse(place, f"{value!r} is no {kind}.")
    for place, value in (
        ("identity.client_id", config.identity.client_id),
        ("identity.groups_claim", config.identity.groups_claim),
        *(
            (f"environments[{index}].approver_group.id", e.approver_group.id)
            for index, e in enumerate(config.environments)
        ),
    ):
        if not value.strip():
            refuse(place, "it is empty.")
    for field in ("input", "references"):
        _check_place(getattr(config.inference, field), f"inference.{field}", refuse)
        for groups, override in config.groups_override.items():
            if (uri := getattr(override.inference, field)) is not None:
                _check_place(uri, f'groups_override."{groups}".inference.{field}', refuse)
    _check_homes(config, refuse)


def _names(config: Config) -> Iterator[Named]:
    yield "identity.issuer", config.identity.issuer, ISSUER, "address of an issuer"
    for place, region in (("registry.region", config.registry.region), ("artifacts.region", config.artifacts.region)):
        if region is not None:
            yield place, region, REGION, "AWS region"
    for index, bucket in enumerate(config.artifacts.buckets):
        yield f"artifacts.buckets[{index}]", bucket, BUCKET, "name of a bucket, without s3:// and path"
    yield (
        "artifacts.hash_instance_type",
        config.artifacts.hash_instance_type,
        INSTANCE_TYPE,
        "instance type of SageMaker's",
    )
    for index, key in enumerate(config.artifacts.keys):
        yield f"artifacts.keys[{index}]", key, KEY, "ARN of a KMS key; an alias or a bare id can't stand in a policy"
    inference = config.inference
    if inference.transform_ami_version:
        yield "inference.transform_ami_version", inference.transform_ami_version, AMI, "AMI version of SageMaker's"
    if inference.bucket:
        yield "inference.bucket", inference.bucket, BUCKET, "name of a bucket, without s3:// and path"
    for field in ("instance_type", "score_instance_type"):
        yield f"inference.{field}", getattr(inference, field), INSTANCE_TYPE, "instance type of SageMaker's"
    for field in ("image", "base_image"):
        if (image := getattr(inference, field)) is not None:
            yield f"inference.{field}", image, IMAGE, "address of an image"
    if inference.schedule is not None:
        yield (
            "inference.schedule",
            inference.schedule,
            SCHEDULE,
            "schedule of EventBridge, such as rate(1 day)",
        )
    yield from _jobs(inference, "inference")
    for index, environment in enumerate(config.environments):
        yield from _jobs(environment, f"environments[{index}]")
        if environment.execution_role is not None:
            yield f"environments[{index}].execution_role", environment.execution_role, ROLE, "ARN of a role"
    for principal in config.operators.principals:
        yield "operators.principals", principal, PRINCIPAL, "ARN of an IAM principal"
    for principal in inference.reporters:
        yield "inference.reporters", principal, PRINCIPAL, "ARN of an IAM principal"
    if config.web.domain_name is not None:
        yield "web.domain_name", config.web.domain_name, DOMAIN, "name of a domain, without https:// and path"
    if config.web.certificate_arn is not None:
        yield "web.certificate_arn", config.web.certificate_arn, CERTIFICATE, "ARN of a certificate in ACM"
    yield from _network(config.web, "web")


class _Network(Protocol):
    @property
    def subnets(self) -> tuple[str, ...] | None: ...
    @property
    def security_groups(self) -> tuple[str, ...] | None: ...


class _Jobs(_Network, Protocol):
    """Network and keys of jobs, from [advanced.inference] or an environment."""

    @property
    def volume_key(self) -> str | None: ...
    @property
    def output_key(self) -> str | None: ...


def _network(given: _Network, place: str) -> Iterator[Named]:
    for subnet in given.subnets or ():
        yield f"{place}.subnets", subnet, SUBNET, "id of a subnet"
    for group in given.security_groups or ():
        yield f"{place}.security_groups", group, SECURITY_GROUP, "id of a security group"


def _jobs(given: _Jobs, place: str) -> Iterator[Named]:
    yield from _network(given, place)
    for field, key in (("volume_key", given.volume_key), ("output_key", given.output_key)):
        if key is not None:
            yield f"{place}.{field}", key, KEY, "ARN of a KMS key; an alias or a bare id can't stand in a policy"


def _check_place(uri: str, place: str, refuse: Refuse) -> None:
    try:
        asked = {field for _, field, _, _ in string.Formatter().parse(uri) if field is not None}
    except ValueError as error:
        refuse(place, f"{uri!r} can't be filled in: {error}.")
    if unknown := sorted(asked - {"bucket", "group", "environment"}):
        refuse(place, f"{{{unknown[0]}}} is nothing to fill in; there are bucket, group, environment.")
    if not uri.startswith("s3://"):
        refuse(place, f"{uri!r} is no place in S3: s3://bucket/key.")
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if bucket != "{bucket}" and not BUCKET.fullmatch(bucket):
        refuse(
            place,
            f"{bucket!r} is no name of a bucket. Roles are let into buckets by name, so that it can't depend on group or "
            "environment: write {bucket} for [inference] bucket, or a name.",
        )


def _check_homes(config: Config, refuse: Refuse) -> None:
    """Refuse ARNs of another account or region than the one that uses them."""
    home, region = config.registry.account, config.registry.region or config.artifacts.region
    for index, environment in enumerate(config.environments):
        account = environment.account or home
        if environment.execution_role and account and environment.execution_role.split(":")[4] != account:
            refuse(
                f"environments[{index}].execution_role",
                f"it is of account {environment.execution_role.split(':')[4]}, and jobs of {environment.name} run in {account}.",
            )
    if region is not None:
        check_region(config, region, refuse)
    _check_partition(config, region, refuse)


def partition_of(region: str) -> str:
    """Return the AWS partition of a region, as in its ARNs."""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def suffix_of(region: str) -> str:
    """Return the domain suffix of a region's endpoints."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _check_partition(config: Config, region: str | None, refuse: Refuse) -> None:
    """Refuse resources of another AWS partition: no policy is valid across partitions."""
    if region is None:
        return
    partition = partition_of(region)
    places = [(f"artifacts.keys[{index}]", key) for index, key in enumerate(config.artifacts.keys)]
    places += [
        (f"environments[{index}].execution_role", each.execution_role)
        for index, each in enumerate(config.environments)
        if each.execution_role
    ]
    for place, arn in places:
        if arn.split(":")[1] != partition:
            refuse(place, f"it is in the partition {arn.split(':')[1]}, and {region} is in {partition}.")


def check_region(config: Config, region: str, refuse: Refuse) -> None:
    """Refuse resources of another region than the installation's."""
    places = [("web.certificate_arn", config.web.certificate_arn)]
    for field in ("volume_key", "output_key"):
        places.append((f"inference.{field}", getattr(config.inference, field)))
        places += [(f"environments[{i}].{field}", getattr(each, field)) for i, each in enumerate(config.environments)]
    for place, arn in places:
        if arn is not None and arn.split(":")[3] != region:
            refuse(place, f"it is in {arn.split(':')[3]}, and what it is for in {region}.")
