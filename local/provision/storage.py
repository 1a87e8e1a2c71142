"""Tables, buckets, parameters, keys, secrets, and the mail identity."""

from __future__ import annotations

import json
from typing import Any

from local import ACCOUNT, REGION
from local.aws import access, policies
from local.moto_patches import sesv2
from local.provision.builder import Builder, as_json, makes
from local.template import Made, Resource


@makes("AWS::DynamoDB::Table")
def table(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("TableName") or builder.name(resource, longest=100)
    arguments: dict[str, Any] = {
        key: properties[key]
        for key in (
            "AttributeDefinitions",
            "KeySchema",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
            "DeletionProtectionEnabled",
        )
        if key in properties
    }
    if "StreamSpecification" in properties:
        arguments["StreamSpecification"] = {"StreamEnabled": True, **properties["StreamSpecification"]}
    made = builder.client("dynamodb").create_table(TableName=name, **arguments)["TableDescription"]
    if "TimeToLiveSpecification" in properties:
        builder.client("dynamodb").update_time_to_live(
            TableName=name, TimeToLiveSpecification=properties["TimeToLiveSpecification"]
        )
    if "PointInTimeRecoverySpecification" in properties:
        builder.client("dynamodb").update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification=properties["PointInTimeRecoverySpecification"]
        )
    attributes = {"Arn": made["TableArn"]}
    if made.get("LatestStreamArn"):
        attributes["StreamArn"] = made["LatestStreamArn"]
    return Made(name, attributes)


@makes("AWS::S3::Bucket")
def bucket(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("BucketName") or builder.name(resource, longest=60, lower=True)
    s3 = builder.client("s3")
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=bool(properties.get("ObjectLockEnabled")))
    if "VersioningConfiguration" in properties:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])
    lock = properties.get("ObjectLockConfiguration")
    if lock:
        s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
    return Made(
        name,
        {
            "Arn": f"arn:aws:s3:::{name}",
            "DomainName": f"{name}.s3.amazonaws.com",
            "RegionalDomainName": f"{name}.s3.{REGION}.amazonaws.com",
        },
    )


@makes("AWS::S3::BucketPolicy")
def bucket_policy(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    access.attach(f"arn:aws:s3:::{properties['Bucket']}", properties["PolicyDocument"])
    return Made(resource.logical_id)


@makes("AWS::SSM::Parameter")
def parameter(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("Name") or builder.name(resource, longest=100)
    kept = {
        key: properties[key] for key in ("Type", "Value", "Description", "AllowedPattern", "Tier") if key in properties
    }
    builder.client("ssm").put_parameter(Name=name, **kept)
    return Made(name, {"Value": properties["Value"], "Type": properties["Type"]})


@makes("AWS::KMS::Key")
def key(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    made = builder.client("kms").create_key(
        KeySpec=properties.get("KeySpec", "SYMMETRIC_DEFAULT"),
        KeyUsage=properties.get("KeyUsage", "ENCRYPT_DECRYPT"),
        Description=properties.get("Description", ""),
        Policy=as_json(properties.get("KeyPolicy", {})),
    )["KeyMetadata"]
    # A statement that allows the account's root everything delegates to IAM policies. Statements about others apply
    # directly.
    others = [
        statement
        for statement in policies.statements(properties.get("KeyPolicy", {}))
        if statement.get("Principal") != {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    ]
    access.attach(made["Arn"], {"Statement": others})
    return Made(made["KeyId"], {"Arn": made["Arn"], "KeyId": made["KeyId"]})


@makes("AWS::KMS::Alias")
def alias(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    target = properties["TargetKeyId"].rsplit("/", 1)[-1]
    builder.client("kms").create_alias(AliasName=properties["AliasName"], TargetKeyId=target)
    return Made(properties["AliasName"], {"TargetKeyId": target})


@makes("AWS::SecretsManager::Secret")
def secret(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    name = properties.get("Name") or builder.name(resource, longest=100)
    client = builder.client("secretsmanager")
    text = properties.get("SecretString")
    recipe = properties.get("GenerateSecretString")
    if recipe is not None:
        options = {k: v for k, v in recipe.items() if k not in {"SecretStringTemplate", "GenerateStringKey"}}
        text = client.get_random_password(**options)["RandomPassword"]
        if "GenerateStringKey" in recipe:
            text = json.dumps({**json.loads(recipe["SecretStringTemplate"]), recipe["GenerateStringKey"]: text})
    arn = client.create_secret(Name=name, SecretString=text or "{}")["ARN"]
    return Made(arn, {"Id": arn})


@makes("AWS::SES::EmailIdentity")
def mail_identity(builder: Builder, resource: Resource, properties: dict[str, Any]) -> Made:
    identity = properties["EmailIdentity"]
    builder.client("sesv2").create_email_identity(EmailIdentity=identity)
    sesv2.verify(identity)
    builder.verified_senders.append(identity)
    records = {
        f"DkimDNSToken{part}{n}": f"{part.lower()}{n}.{identity}" for part in ("Name", "Value") for n in (1, 2, 3)
    }
    return Made(identity, {**records, "EmailIdentityArn": f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{identity}"})
