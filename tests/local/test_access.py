"""Each function may do what its role allows and nothing else, as moto's callers with the role's credentials find out."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.service import LocalService
from promotion import names
from tests.local.watched import installation

LIVE = "/promotion/some-group/dev/live"


def code(call: Any, **arguments: Any) -> str:
    """Return the result of a call: `ok`, or the error's code."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def put(table_name: str) -> dict[str, Any]:
    return {"TableName": table_name, "Item": {"pk": {"S": "GROUP#forged"}, "sk": {"S": "EVENT#1"}}}


@pytest.mark.parametrize("function", ["web", "on_projection_due", "on_ledger_appended", "on_model_registered", "sweep"])
def test_only_the_appending_functions_write_the_ledger(service: LocalService, function: str) -> None:
    dynamodb = service.role_session(function).client("dynamodb")
    name = installation(service)["ledger_table"]
    assert code(dynamodb.put_item, **put(name)) == "AccessDeniedException"
    assert code(dynamodb.transact_write_items, TransactItems=[{"Put": put(name)}]) == "AccessDeniedException"


def test_verify_writes_what_it_found_and_moves_no_cursor(service: LocalService) -> None:
    dynamodb = service.role_session("verify").client("dynamodb")
    projections = installation(service)["projections_table"]
    found = {"pk": {"S": names.DIFFERENCES_KEY}, "sk": {"S": "nobody"}, "count": {"N": "0"}, "lines": {"L": []}}
    item = {**found, "since": {"S": "2026-11-29T00:00:00Z"}}
    assert code(dynamodb.put_item, TableName=projections, Item=item) == "ok"
    assert code(dynamodb.put_item, **put(projections)) == "AccessDeniedException"


def test_a_transaction_needs_what_its_items_need(service: LocalService) -> None:
    dynamodb = service.role_session("decide").client("dynamodb")
    key = {"TableName": installation(service)["ledger_table"], "Key": {"pk": {"S": "GROUP#none"}, "sk": {"S": "HEAD"}}}
    unmet = {"UpdateExpression": "REMOVE board_pk", "ConditionExpression": "attribute_exists(pk)"}
    update = {"Update": {**key, **unmet}}
    assert code(dynamodb.transact_write_items, TransactItems=[update]) == "TransactionCanceledException"
    check = {"ConditionCheck": {**key, "ConditionExpression": "attribute_not_exists(pk)"}}
    delete = {"Delete": {**key, "Key": {"pk": {"S": "x"}, "sk": {"S": "x"}}}}
    for other in (check, delete):
        assert code(dynamodb.transact_write_items, TransactItems=[update, other]) == "AccessDeniedException"


def test_an_index_is_read_only_by_whom_the_policy_names(service: LocalService) -> None:
    query = {
        "TableName": installation(service)["ledger_table"],
        "IndexName": "board",
        "KeyConditionExpression": "board_pk = :b",
        "ExpressionAttributeValues": {":b": {"S": "x"}},
    }
    assert code(service.role_session("web").client("dynamodb").query, **query) == "ok"
    assert code(service.role_session("on_ledger_appended").client("dynamodb").query, **query) == "AccessDeniedException"


def test_parameters_are_written_only_by_the_projector_and_only_below_the_prefix(service: LocalService) -> None:
    projector = service.role_session("on_projection_due").client("ssm")
    assert code(projector.put_parameter, Name=LIVE, Value="{}", Type="String") == "ok"
    assert code(projector.put_parameter, Name="/elsewhere/x", Value="x", Type="String") == "AccessDeniedException"
    decide = service.role_session("decide").client("ssm")
    assert code(decide.put_parameter, Name=LIVE, Value="{}", Type="String", Overwrite=True) == "AccessDeniedException"


def test_nobody_but_the_registry_role_updates_packages(service: LocalService) -> None:
    update = {
        "ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/x/1",
        "ModelApprovalStatus": "Approved",
    }
    for function in ("on_projection_due", "decide", "on_model_registered"):
        sagemaker = service.role_session(function).client("sagemaker")
        assert code(sagemaker.update_model_package, **update) == "AccessDeniedException"


def test_the_registry_role_trusts_the_projector_alone(service: LocalService) -> None:
    functions = service.session().client("lambda").list_functions()["Functions"]
    role = next(f["Environment"]["Variables"]["REGISTRY_ROLE_ARN"] for f in functions if "projection" in f["Handler"])
    arguments = {"RoleArn": role, "RoleSessionName": "session", "SourceIdentity": "ann"}
    assert code(service.role_session("on_projection_due").client("sts").assume_role, **arguments) == "ok"
    assert code(service.role_session("decide").client("sts").assume_role, **arguments) == "AccessDenied"


def test_the_signing_key_signs_for_the_projector_alone(service: LocalService) -> None:
    sign = {
        "KeyId": installation(service)["signing_key_arn"],
        "Message": b"x" * 32,
        "MessageType": "DIGEST",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    assert code(service.role_session("on_projection_due").client("kms").sign, **sign) == "ok"
    assert code(service.role_session("web").client("kms").sign, **sign) == "AccessDeniedException"


def test_mail_leaves_only_from_the_sender_and_only_by_the_projector(service: LocalService) -> None:
    def mail(sender: str) -> dict[str, Any]:
        text = f"From: {sender}\r\nTo: eve@example.com\r\nSubject: x\r\n\r\nx"
        return {
            "FromEmailAddress": sender,
            "Destination": {"ToAddresses": ["eve@example.com"]},
            "Content": {"Raw": {"Data": text.encode()}},
        }

    projector = service.role_session("on_projection_due").client("sesv2")
    assert code(projector.send_email, **mail("models@example.com")) == "ok"
    assert code(projector.send_email, **mail("models@elsewhere.example")) == "AccessDeniedException"
    assert (
        code(service.role_session("web").client("sesv2").send_email, **mail("models@example.com"))
        == "AccessDeniedException"
    )


def test_the_services_bus_takes_events_from_the_service_alone(service: LocalService) -> None:
    entry = {"Source": "promotion", "DetailType": "Model Promoted", "Detail": "{}", "EventBusName": "promotion"}
    assert code(service.role_session("on_projection_due").client("events").put_events, Entries=[entry]) == "ok"
    assert code(service.role_session("decide").client("events").put_events, Entries=[entry]) == "AccessDeniedException"
    # The bus's own policy denies everybody else, the administrator too.
    assert code(service.session().client("events").put_events, Entries=[entry]) == "AccessDeniedException"


def test_functions_are_invoked_only_by_whom_they_trust(service: LocalService) -> None:
    functions = service.session().client("lambda").list_functions()["Functions"]
    record = next(f["FunctionName"] for f in functions if f["Handler"] == "lambdas.handlers.record.handler")
    invoke = {"FunctionName": record, "InvocationType": "DryRun"}
    assert code(service.role_session("on_model_registered").client("lambda").invoke, **invoke) == "ok"
    assert code(service.role_session("web").client("lambda").invoke, **invoke) == "AccessDeniedException"


def test_secrets_are_read_only_by_whom_the_policy_names(service: LocalService) -> None:
    secret = service.session().client("secretsmanager").list_secrets()["SecretList"][0]["ARN"]
    assert code(service.role_session("decide").client("secretsmanager").get_secret_value, SecretId=secret) == "ok"
    got = code(service.role_session("on_projection_due").client("secretsmanager").get_secret_value, SecretId=secret)
    assert got in {"ok", "AccessDeniedException"}
    got = code(service.role_session("on_ledger_appended").client("secretsmanager").get_secret_value, SecretId=secret)
    assert got == "AccessDeniedException"


def test_objects_are_read_only_where_the_policy_says(service: LocalService) -> None:
    s3 = service.session().client("s3")
    s3.put_object(Bucket="promotion-models", Key="access/x", Body=b"x")
    s3.create_bucket(Bucket="somebody-elses")
    s3.put_object(Bucket="somebody-elses", Key="x", Body=b"x")
    registered = service.role_session("on_model_registered").client("s3")
    assert code(registered.get_object, Bucket="promotion-models", Key="access/x") == "ok"
    assert code(registered.get_object, Bucket="somebody-elses", Key="x") == "AccessDenied"
    assert code(registered.put_object, Bucket="promotion-models", Key="access/y", Body=b"") == "AccessDenied"
    assert (
        code(service.role_session("decide").client("s3").get_object, Bucket="promotion-models", Key="access/x")
        == "AccessDenied"
    )


def test_an_archived_history_is_written_once_whoever_writes(service: LocalService) -> None:
    """The bucket's policy of the template, evaluated as S3's documentation says."""
    value = service.session().client("ssm").get_parameter(Name="/promotion/_service")["Parameter"]["Value"]
    bucket = json.loads(value)["evidence_bucket"]
    projector, administrator = service.role_session("on_projection_due").client("s3"), service.session().client("s3")
    there = {"Bucket": bucket, "Key": f"{names.ARCHIVES}/access.v1/0000000001-ab.json"}
    assert code(administrator.put_object, **there, Body=b"{}") == "AccessDenied"
    assert code(projector.put_object, **there, Body=b"{}", IfNoneMatch="*") == "ok"
    for client in (projector, administrator):
        assert code(client.put_object, **there, Body=b"[]") == "AccessDenied"
        assert code(client.put_object, **there, Body=b"[]", IfNoneMatch="*") == "PreconditionFailed"
    source = {"Bucket": bucket, "Key": "elsewhere.json"}
    assert code(administrator.put_object, **source, Body=b"[]") == "ok"
    assert code(administrator.copy_object, **there, CopySource=source) == "AccessDenied"
    upload = administrator.create_multipart_upload(**there)["UploadId"]
    part = administrator.upload_part(**there, UploadId=upload, PartNumber=1, Body=b"[]")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    assert (
        code(administrator.complete_multipart_upload, **there, UploadId=upload, MultipartUpload=parts) == "AccessDenied"
    )
    assert code(projector.delete_object, **there) == "AccessDenied"
    assert administrator.get_object(**there)["Body"].read() == b"{}"


def test_queues_take_messages_only_from_whom_the_policy_names(service: LocalService) -> None:
    message = {
        "QueueUrl": installation(service)["dead_letter_queue_url"],
        "MessageBody": "{}",
        "MessageGroupId": "g",
        "MessageDeduplicationId": "d",
    }
    assert code(service.role_session("on_projection_due").client("sqs").send_message, **message) == "ok"
    assert code(service.role_session("web").client("sqs").send_message, **message) == "AccessDeniedException"


def test_an_unknown_key_and_a_stolen_one_without_its_token_get_nowhere(service: LocalService) -> None:
    def identity(key: str, token: str | None = None) -> str:
        client = boto3.client(
            "ssm",
            endpoint_url=service.aws_url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key="x",
            aws_session_token=token,
        )
        return code(client.get_parameter, Name=LIVE)

    stolen = service.role_session("on_projection_due").credentials["aws_access_key_id"]
    assert stolen is not None
    assert identity("AKIAUNKNOWN000000000") == "UnrecognizedClientException"
    assert identity(stolen, "forged") == "UnrecognizedClientException"
    assert identity(stolen) == "UnrecognizedClientException"


def test_a_user_has_the_policies_given_to_them(service: LocalService) -> None:
    iam = service.session().client("iam")
    iam.create_user(UserName="dee")
    key = iam.create_access_key(UserName="dee")["AccessKey"]
    client = boto3.client(
        "sagemaker",
        endpoint_url=service.aws_url,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )
    assert code(client.list_model_package_groups) == "AccessDeniedException"
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sagemaker:List*", "Resource": "*"}]}
    iam.put_user_policy(UserName="dee", PolicyName="p", PolicyDocument=json.dumps(allow))
    assert code(client.list_model_package_groups) == "ok"
