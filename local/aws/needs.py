"""Permissions that a call needs: IAM action, resource and condition keys, from its operation and parameters.

AWS documents this by service in its Service Authorization Reference; here are the services that the stack uses. Any
other call needs the action of its own name on any resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from moto.kms.models import kms_backends
from moto.sagemaker.models import sagemaker_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ses.models import ses_backends

from local import ACCOUNT, REGION
from local.aws.operations import Operation


@dataclass(frozen=True)
class Need:
    """One action on one resource."""

    action: str
    resource: str = "*"
    context: Mapping[str, Any] = field(default_factory=dict)


def of(operation: Operation) -> list[Need]:
    """Return all permissions that a call needs."""
    describe = _SERVICES.get(operation.service)
    needs = list(describe(operation.name, operation.parameters)) if describe else []
    return needs or [Need(f"{operation.service}:{operation.name}")]


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def _pass_role(role_arn: Any, service: str) -> Iterator[Need]:
    if role_arn:
        yield Need("iam:PassRole", str(role_arn), {"iam:PassedToService": service})


def _ssm(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    parameters: Iterable[Any] = [given[key] for key in ("Name", "Path", "ResourceId") if key in given]
    for parameter in given.get("Names", parameters):
        text = str(parameter).split(":")[0] if not str(parameter).startswith("arn:") else str(parameter)
        resource = text if text.startswith("arn:") else arn("ssm", f"parameter/{text.lstrip('/')}")
        yield Need(f"ssm:{name}", resource, {"ssm:Overwrite": str(given.get("Overwrite", False)).lower()})


def _table(given: Mapping[str, Any]) -> str:
    table = str(given["TableName"])
    return table if table.startswith("arn:") else arn("dynamodb", f"table/{table}")


_TRANSACTED = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}


def _leading(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the partition key of a written item; it is `pk` in every table of the stack."""
    key = given.get("Item", {}).get("pk", {}).get("S")
    return {"dynamodb:LeadingKeys": [key]} if key else {}


def _dynamodb(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    if "TransactItems" in given:
        # A transaction has no action of its own: each item needs the permission of its single operation.
        for item in given["TransactItems"]:
            for kind, body in item.items():
                yield Need(f"dynamodb:{_TRANSACTED.get(kind, kind)}", _table(body))
    elif "RequestItems" in given:
        for table in given["RequestItems"]:
            yield Need(f"dynamodb:{name}", _table({"TableName": table}))
    elif "TableName" in given:
        index = f"/index/{given['IndexName']}" if "IndexName" in given else ""
        yield Need(f"dynamodb:{name}", _table(given) + index, _leading(given))
    elif "StreamArn" in given:
        yield Need(f"dynamodb:{name}", str(given["StreamArn"]))
    elif "ShardIterator" in given:
        yield Need(f"dynamodb:{name}", str(given["ShardIterator"]).split("|")[0])


def _sagemaker(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    package = given.get("ModelPackageArn") or given.get("ModelPackageName")
    group = given.get("ModelPackageGroupName")
    context: dict[str, Any] = {}
    if package:
        resource = _as_named(
            str(package) if str(package).startswith("arn:") else arn("sagemaker", f"model-package/{package}")
        )
    elif name == "CreateModelPackage":
        resource = arn("sagemaker", f"model-package/{group}/*")
    elif group and not name.startswith("List"):
        named = str(group)
        resource = named if named.startswith("arn:") else arn("sagemaker", f"model-package-group/{named}")
    elif "TransformJobName" in given:
        resource = arn("sagemaker", f"transform-job/{str(given['TransformJobName']).lower()}")
    elif "ProcessingJobName" in given:
        resource = arn("sagemaker", f"processing-job/{str(given['ProcessingJobName']).lower()}")
    elif "MonitoringScheduleName" in given:
        resource = arn("sagemaker", f"monitoring-schedule/{str(given['MonitoringScheduleName']).lower()}")
    elif "EndpointName" in given:
        resource = arn("sagemaker", f"endpoint/{str(given['EndpointName']).lower()}")
    elif "EndpointConfigName" in given:
        resource = arn("sagemaker", f"endpoint-config/{str(given['EndpointConfigName']).lower()}")
    elif name in {"AddTags", "ListTags", "DeleteTags"}:
        resource = str(given["ResourceArn"])
    elif "PipelineName" in given:
        named = str(given["PipelineName"])
        resource = named if named.startswith("arn:") else arn("sagemaker", f"pipeline/{named.lower()}")
    elif "ModelName" in given:
        resource = arn("sagemaker", f"model/{str(given['ModelName']).lower()}")
    else:
        resource = "*"
    if name in {"CreateModelPackage", "UpdateModelPackage"}:
        context = dict(_package_context(given, str(package)))
    yield Need(f"sagemaker:{name}", resource, context)
    if name in {"CreateEndpoint", "UpdateEndpoint"}:
        yield Need(f"sagemaker:{name}", arn("sagemaker", f"endpoint-config/{str(given['EndpointConfigName']).lower()}"))
    if name.startswith("Create") and given.get("Tags") and name != "CreateModelPackage":
        yield Need("sagemaker:AddTags", resource)
    monitored = (given.get("MonitoringScheduleConfig") or {}).get("MonitoringJobDefinition") or {}
    role = given.get("ExecutionRoleArn") or given.get("RoleArn") or monitored.get("RoleArn")
    yield from _pass_role(role, "sagemaker.amazonaws.com")


def _as_named(resource: str) -> str:
    """Return a package's ARN with its group's name in the original case.

    SageMaker's ARNs are in lower case, but since about April 2023 IAM compares a group's name in its original case:
    https://github.com/aws-samples/ml-edge-getting-started/issues/18
    """
    package = sagemaker_backends[ACCOUNT][REGION].model_packages.get(resource)
    if package is None or package.model_package_group_name is None:
        return resource
    return arn("sagemaker", f"model-package/{package.model_package_group_name}/{package.model_package_version}")


def _package_context(given: Mapping[str, Any], resource: str) -> Iterator[tuple[str, str]]:
    """Return condition keys of model packages: the requested values, and the present ones."""
    if "ModelApprovalStatus" in given:
        yield "sagemaker:ModelApprovalStatus", given["ModelApprovalStatus"]
    life_cycle = given.get("ModelLifeCycle") or {}
    if "Stage" in life_cycle:
        yield "sagemaker:ModelLifeCycle:Stage", life_cycle["Stage"]
    if "StageStatus" in life_cycle:
        yield "sagemaker:ModelLifeCycle:StageStatus", life_cycle["StageStatus"]
    for key, value in (given.get("CustomerMetadataProperties") or {}).items():
        yield f"sagemaker:CustomerMetadataProperties/{key}", value
    package = sagemaker_backends[ACCOUNT][REGION].model_packages.get(resource)
    if package is not None:
        for key, value in (package.customer_metadata_properties or {}).items():
            yield f"sagemaker:CurrentCustomerMetadataProperties/{key}", value
        stage = (getattr(package, "model_life_cycle", None) or {}).get("Stage")
        if stage:
            yield "sagemaker:CurrentModelLifeCycleStage", stage


def _sts(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    if name == "GetCallerIdentity":
        return
    resource = str(given.get("RoleArn", "*"))
    context = {"sts:RoleSessionName": str(given.get("RoleSessionName", ""))}
    if "SourceIdentity" in given:
        context["sts:SourceIdentity"] = str(given["SourceIdentity"])
        yield Need("sts:SetSourceIdentity", resource, context)
    yield Need(f"sts:{name}", resource, context)


def _kms(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    key_id = str(given.get("KeyId", ""))
    if not key_id:
        return
    backend = kms_backends[ACCOUNT][REGION]
    found = backend.keys.get(backend.any_id_to_key_id(key_id))
    context = {
        "kms:SigningAlgorithm": given.get("SigningAlgorithm", ""),
        "kms:MessageType": given.get("MessageType", "RAW"),
    }
    yield Need(f"kms:{name}", found.arn if found else key_id, context)


def _secretsmanager(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    secret_id = str(given.get("SecretId", ""))
    if secret_id:
        secret = secretsmanager_backends[ACCOUNT][REGION].secrets.get(secret_id)
        yield Need(f"secretsmanager:{name}", secret.arn if secret else arn("secretsmanager", f"secret:{secret_id}"))


def _ecr(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    if "repositoryName" in given:
        registry = given.get("registryId") or ACCOUNT
        yield Need(f"ecr:{name}", f"arn:aws:ecr:{REGION}:{registry}:repository/{given['repositoryName']}")


def _sqs(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    if "QueueUrl" in given:
        yield Need(f"sqs:{name.removesuffix('Batch')}", arn("sqs", str(given["QueueUrl"]).rsplit("/", 1)[-1]))


def _events(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    for entry in given.get("Entries", ()) if name == "PutEvents" else ():
        bus = str(entry.get("EventBusName") or "default")
        resource = bus if bus.startswith("arn:") else arn("events", f"event-bus/{bus}")
        yield Need(
            "events:PutEvents",
            resource,
            {"events:source": entry.get("Source", ""), "events:detail-type": entry.get("DetailType", "")},
        )


def _sns(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    topic = given.get("TopicArn") or given.get("TargetArn")
    yield Need(f"sns:{name}", str(topic) if topic else "*")


def _cloudwatch(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    # Only the alarm's name is restricted; the service signs as `monitoring`, but its IAM actions begin with
    # `cloudwatch`.
    named = given.get("AlarmNames") or ([given["AlarmName"]] if "AlarmName" in given else [])
    for alarm in named:
        yield Need(f"cloudwatch:{name}", arn("cloudwatch", f"alarm:{alarm}"))
    if not named:
        yield Need(f"cloudwatch:{name}")


def _lambda(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    function = unquote(str(given.get("FunctionName", "")))
    if function:
        resource = function if function.startswith("arn:") else arn("lambda", f"function:{function}")
        yield Need("lambda:InvokeFunction" if name == "Invoke" else f"lambda:{name}", resource)


def _states(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    resource = given.get("stateMachineArn") or given.get("executionArn")
    if resource:
        yield Need(f"states:{name}", str(resource))
    yield from _pass_role(given.get("roleArn"), "states.amazonaws.com")


def _ses(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    sender = str(given.get("FromEmailAddress", ""))
    if name != "SendEmail" or not sender:
        return
    address = sender.rpartition("<")[2].rstrip(">")
    identities = ses_backends[ACCOUNT][REGION].email_identities
    # Mail from an address that isn't verified itself uses its domain's identity.
    identity = address if address in identities else address.rpartition("@")[2]
    destination = given.get("Destination") or {}
    recipients = [each for kind in ("ToAddresses", "CcAddresses", "BccAddresses") for each in destination.get(kind, ())]
    action = "ses:SendRawEmail" if "Raw" in (given.get("Content") or {}) else "ses:SendEmail"
    yield Need(action, arn("ses", f"identity/{identity}"), {"ses:FromAddress": address, "ses:Recipients": recipients})


_S3_ACTIONS = {
    "HeadObject": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "UploadPartCopy": "PutObject",
    "DeleteObjects": "DeleteObject",
    "ListBuckets": "ListAllMyBuckets",
}
_CREATES_OBJECTS = ("PutObject", "CopyObject", "CompleteMultipartUpload")
_VERSIONED = {
    "GetObject": "GetObjectVersion",
    "DeleteObject": "DeleteObjectVersion",
    "GetObjectAttributes": "GetObjectVersionAttributes",
}


def _s3(name: str, given: Mapping[str, Any]) -> Iterator[Need]:
    bucket = given.get("Bucket")
    if not bucket:
        yield Need(f"s3:{_S3_ACTIONS.get(name, name)}")
        return
    key = unquote(str(given["Key"])) if "Key" in given else None
    action = _S3_ACTIONS.get(name, name)
    if "versionId" in given:
        action = _VERSIONED.get(action, action)
    if name == "DeleteObjects":
        key = "*"
    context = {"s3:prefix": given.get("prefix", "")} if action == "ListBucket" else {}
    if action == "PutObject":
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
        context["s3:ObjectCreationOperation"] = str(name in _CREATES_OBJECTS).lower()
        if "IfNoneMatch" in given:
            context["s3:if-none-match"] = given["IfNoneMatch"]
    yield Need(f"s3:{action}", f"arn:aws:s3:::{bucket}" + (f"/{key}" if key is not None else ""), context)
    if "CopySource" in given:
        source = unquote(str(given["CopySource"])).lstrip("/").partition("?versionId=")
        yield Need("s3:GetObjectVersion" if source[2] else "s3:GetObject", f"arn:aws:s3:::{source[0]}")


_SERVICES: Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[Need]]] = {
    "ssm": _ssm,
    "dynamodb": _dynamodb,
    "sagemaker": _sagemaker,
    "sts": _sts,
    "kms": _kms,
    "secretsmanager": _secretsmanager,
    "ecr": _ecr,
    "sqs": _sqs,
    "events": _events,
    "sns": _sns,
    "monitoring": _cloudwatch,
    "lambda": _lambda,
    "states": _states,
    "ses": _ses,
    "s3": _s3,
}
