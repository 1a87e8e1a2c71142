"""Patches of moto's differences from AWS, through a boto3 client of the running service."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from local import ADMINISTRATOR_ARN
from local.service import LocalService
from tests.local.people import IMAGE

_ONCE = Config(retries={"total_max_attempts": 1})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
         "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]}
    ]
})  # fmt: skip


def refused(call: Any, **arguments: Any) -> str:
    """The code of the error that a call ends with."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return str(error.value.response["Error"]["Code"])


def package(service: LocalService, **extra: Any) -> str:
    """A package in a group of its own, which nobody governs a decision about."""
    sagemaker = service.session().client("sagemaker")
    group = f"mend-{uuid.uuid4().hex[:8]}"
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    specification = {
        "Containers": [{"Image": IMAGE}],
        "SupportedContentTypes": ["application/jsonlines"],
        "SupportedResponseMIMETypes": ["application/jsonlines"],
    }
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=specification, ModelApprovalStatus="Rejected", **extra
    )["ModelPackageArn"]
    return arn


def test_an_update_of_a_package_leaves_what_it_does_not_name(service: LocalService) -> None:
    sagemaker = service.session().client("sagemaker")
    arn = package(service, CustomerMetadataProperties={"kept": "1", "changed": "1", "gone": "1"})
    sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"changed": "2"}, CustomerMetadataPropertiesToRemove=["gone"]
    )
    found = sagemaker.describe_model_package(ModelPackageName=arn)
    assert found["ModelApprovalStatus"] == "Rejected"
    # The service itself may add its environments' fields.
    assert found["CustomerMetadataProperties"].items() >= {"kept": "1", "changed": "2"}.items()
    assert "gone" not in found["CustomerMetadataProperties"]


def test_a_package_keeps_its_life_cycle_and_its_makers_name(service: LocalService) -> None:
    sagemaker = service.session().client("sagemaker")
    arn = package(service)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelLifeCycle={"Stage": "Prod", "StageStatus": "Approved"})
    found = sagemaker.describe_model_package(ModelPackageName=arn)
    assert found["ModelLifeCycle"] == {"Stage": "Prod", "StageStatus": "Approved"}
    assert found["CreatedBy"]["IamIdentity"]["Arn"] == ADMINISTRATOR_ARN


def test_a_package_without_a_status_is_pending(service: LocalService) -> None:
    sagemaker = service.session().client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="mend-pending")
    arn = sagemaker.create_model_package(ModelPackageGroupName="mend-pending")["ModelPackageArn"]
    assert sagemaker.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == "PendingManualApproval"


@pytest.mark.parametrize("value", ["a, b", "(x)", '{"a":1}', "x" * 257, "é\u0301\u20ac"])
def test_metadata_that_sagemaker_refuses_is_refused(service: LocalService, value: str) -> None:
    update = service.session().client("sagemaker").update_model_package
    arn = package(service)
    assert refused(update, ModelPackageArn=arn, CustomerMetadataProperties={"k": value}) == "ValidationException"


def test_metadata_in_any_alphabet_is_taken(service: LocalService) -> None:
    package(service, CustomerMetadataProperties={"Prüfer": "Ærøskøbing 東京 _.:/=+-@"})


def test_a_deleted_version_is_gone_and_its_number_is_given_to_no_other(service: LocalService) -> None:
    sagemaker = service.session().client("sagemaker")
    arn = package(service)
    group = arn.split("/")[-2]
    assert refused(sagemaker.delete_model_package_group, ModelPackageGroupName=group) == "ValidationException"
    sagemaker.delete_model_package(ModelPackageName=arn)
    assert refused(sagemaker.describe_model_package, ModelPackageName=arn) == "ValidationException"
    specification = {
        "Containers": [{"Image": IMAGE}],
        "SupportedContentTypes": ["application/jsonlines"],
        "SupportedResponseMIMETypes": ["application/jsonlines"],
    }
    given = {"ModelPackageGroupName": group, "InferenceSpecification": specification, "ModelApprovalStatus": "Rejected"}
    second = sagemaker.create_model_package(**given)["ModelPackageArn"]
    assert second.endswith("/2")
    sagemaker.delete_model_package(ModelPackageName=second)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert refused(sagemaker.delete_model_package_group, ModelPackageGroupName=group) == "ValidationException"
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    assert sagemaker.create_model_package(**given)["ModelPackageArn"].endswith("/1"), "a group made anew numbers from 1"


def test_a_source_identity_stays_with_the_session_and_is_noted_on_the_package(service: LocalService) -> None:
    iam, sts = service.session().client("iam"), service.session().client("sts")
    role = iam.create_role(RoleName="mend-registrar", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="mend-registrar", PolicyName="p", PolicyDocument=json.dumps(everything))
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="session", SourceIdentity="dee@example.com")
    assert assumed["SourceIdentity"] == "dee@example.com"
    sagemaker = service.session(assumed["Credentials"]).client("sagemaker")
    arn = package(service)
    sagemaker.update_model_package(ModelPackageArn=arn, ApprovalDescription="seen")
    modified = sagemaker.describe_model_package(ModelPackageName=arn)["LastModifiedBy"]["IamIdentity"]
    assert modified["SourceIdentity"] == "dee@example.com"
    assert (
        refused(sts.assume_role, RoleArn=role, RoleSessionName="session", SourceIdentity="not allowed")
        == "ValidationError"
    )


def test_a_repeated_transaction_token_succeeds_and_changes_nothing(service: LocalService) -> None:
    dynamodb = service.session().client("dynamodb")
    dynamodb.create_table(
        TableName="mend-tokens",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    put = {
        "Put": {
            "TableName": "mend-tokens",
            "Item": {"pk": {"S": "a"}},
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }
    dynamodb.transact_write_items(TransactItems=[put], ClientRequestToken="t-1")
    dynamodb.transact_write_items(TransactItems=[put], ClientRequestToken="t-1")
    other = {"Put": {"TableName": "mend-tokens", "Item": {"pk": {"S": "b"}}}}
    code = refused(dynamodb.transact_write_items, TransactItems=[other], ClientRequestToken="t-1")
    assert code == "IdempotentParameterMismatchException"
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as cancelled:
        dynamodb.transact_write_items(TransactItems=[other, put])
    reasons = [reason["Code"] for reason in cancelled.value.response["CancellationReasons"]]
    assert reasons == ["None", "ConditionalCheckFailed"]
    assert "Item" not in dynamodb.get_item(TableName="mend-tokens", Key={"pk": {"S": "b"}})


def test_parameters_are_held_to_their_pattern_size_and_nesting(service: LocalService) -> None:
    put = service.session().client("ssm").put_parameter
    put(Name="/mend/p", Value="v1", Type="String", AllowedPattern="^v[0-9]$")
    mismatch = refused(put, Name="/mend/p", Value="zzz", Type="String", Overwrite=True)
    assert mismatch == "ParameterPatternMismatchException"
    assert refused(put, Name="/mend/q", Value="{{ssm:/mend/p}}", Type="String") == "ValidationException"
    assert refused(put, Name="/mend/r", Value="x" * 4097, Type="String") == "ValidationException"
    deep = "/" + "/".join("abcdefghijklmnop")
    assert refused(put, Name=deep, Value="x", Type="String") == "HierarchyLevelLimitExceededException"


def test_a_deleted_parameters_name_rests(service: LocalService) -> None:
    ssm = service.session().client("ssm", config=_ONCE)
    ssm.put_parameter(Name="/mend-rests/x", Value="x", Type="String")
    ssm.delete_parameter(Name="/mend-rests/x")
    assert refused(ssm.put_parameter, Name="/mend-rests/x", Value="x", Type="String") == "InternalServerError"
    assert ssm.get_parameters_by_path(Path="/mend-rests")["Parameters"] == []


def test_the_101st_version_goes_unless_the_oldest_has_a_label(service: LocalService) -> None:
    ssm = service.session().client("ssm")
    for number in range(100):
        ssm.put_parameter(Name="/mend/versions", Value=str(number), Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="/mend/versions", ParameterVersion=1, Labels=["kept"])
    code = refused(ssm.put_parameter, Name="/mend/versions", Value="x", Type="String", Overwrite=True)
    assert code == "ParameterMaxVersionLimitExceeded"


def test_parameters_by_path_come_in_pages_of_ten(service: LocalService) -> None:
    ssm = service.session().client("ssm")
    for number in range(11):
        ssm.put_parameter(Name=f"/mend-paged/{number:02d}", Value="x", Type="String")
    page = ssm.get_parameters_by_path(Path="/mend-paged")
    assert len(page["Parameters"]) == 10
    assert len(ssm.get_parameters_by_path(Path="/mend-paged", NextToken=page["NextToken"])["Parameters"]) == 1


def test_nobody_sends_events_in_awss_name(service: LocalService) -> None:
    entry = {"Source": "aws.sagemaker", "DetailType": "SageMaker Model Package State Change", "Detail": "{}"}
    answer = service.session().client("events").put_events(Entries=[entry])
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_kms_signs_a_digest_as_it_is(service: LocalService) -> None:
    kms = service.session().client("kms")
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    message = b"x" * 9000
    digest = hashlib.sha256(message).digest()
    arguments = {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(Message=digest, MessageType="DIGEST", **arguments)["Signature"]
    public = load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    assert kms.verify(Message=digest, MessageType="DIGEST", Signature=signature, **arguments)["SignatureValid"]
    assert refused(kms.sign, Message=message, **arguments) == "ValidationException"


def test_the_administrator_has_a_name(service: LocalService) -> None:
    assert service.session().client("sts").get_caller_identity()["Arn"] == ADMINISTRATOR_ARN


def test_a_state_machines_tasks_have_only_its_roles_rights(service: LocalService) -> None:
    iam, machines, ssm = (service.session().client(name) for name in ("iam", "stepfunctions", "ssm"))
    ssm.put_parameter(Name="/mend/read", Value="seen", Type="String")
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    )
    role = iam.create_role(RoleName="mend-machine", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    task = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:ssm:getParameter", "Parameters": {"Name": "/mend/read"},
            "ResultPath": "$.read", "End": True}  # fmt: skip
    definition = json.dumps({"StartAt": "Read", "States": {"Read": task}})
    machine = machines.create_state_machine(name="mend-machine", definition=definition, roleArn=role)["stateMachineArn"]

    def run() -> dict[str, Any]:
        execution = machines.start_execution(stateMachineArn=machine)["executionArn"]

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = machines.describe_execution(executionArn=execution)
            return found if found["status"] != "RUNNING" else None

        outcome = service.wait_for(ended)
        assert outcome is not None
        return outcome

    denied = run()
    assert denied["status"] == "FAILED"
    assert "not authorized to perform: ssm:GetParameter" in denied["cause"]
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}]}
    iam.put_role_policy(RoleName="mend-machine", PolicyName="p", PolicyDocument=json.dumps(allow))
    output = json.loads(run()["output"])
    assert output["read"]["Parameter"]["Value"] == "seen"
    assert isinstance(output["read"]["Parameter"]["LastModifiedDate"], str)
