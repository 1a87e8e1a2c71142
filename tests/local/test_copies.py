"""A container of another image gets a copy of the approved bytes, with the rights of the function that makes it."""

from __future__ import annotations

import json

from local.service import LocalService
from tests.local.people import Person, artifact
from tests.local.test_access import code
from tests.local.test_loop import asked, function_name, live

GROUP, BUCKET = "copied", "promotion-models"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


def test_a_container_of_another_image_gets_a_copy_that_nobody_else_may_write(
    service: LocalService, ann: Person
) -> None:
    assert ann.decide(asked(service, GROUP, image=XGBOOST)).status_code == 303
    assert service.wait_for(lambda: live(service, GROUP)) is not None
    s3, functions = service.session().client("s3"), service.session().client("lambda")
    name = function_name(service, "prepare_inference")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    evidence = variables["EVIDENCE_BUCKET"]
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/in.jsonl", Body=b"{}\n")
    places = dict.fromkeys(("input", "references"), f"s3://{BUCKET}/{GROUP}/in.jsonl")
    settings = {"execution_role_arn": "arn:aws:iam::123456789012:role/dev", "evidence_bucket": evidence}
    event = {"group": GROUP, "environment": "dev", "settings": settings, **places}
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    prepared = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, prepared

    url = prepared["create_model"]["Containers"][0]["ModelDataUrl"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    assert (bucket, prepared["score"]["AppSpecification"]["ImageUri"]) == (evidence, variables["INFERENCE_IMAGE"])
    approved = s3.get_object(Bucket=BUCKET, Key=f"{GROUP}/model.tar.gz")["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=f"{GROUP}/model.tar.gz", Body=artifact(b"other bytes"))
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == approved
    for client in (s3, service.role_session("on_model_registered").client("s3")):
        assert code(client.put_object, Bucket=bucket, Key=key, Body=b"other bytes") == "AccessDenied"
