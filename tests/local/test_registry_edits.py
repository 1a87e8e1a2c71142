"""A version that is changed, deleted and made anew in the registry while it waits, as a boto3 client and an approver see it."""

from __future__ import annotations

import uuid
from typing import Any

from local.service import LocalService
from tests.local.people import IMAGE, Person, mails_to, register


def specification(group: str, image: str) -> dict[str, Any]:
    container = {"Image": image, "ModelDataUrl": f"s3://promotion-models/{group}/model.tar.gz"}
    return {
        "Containers": [container],
        "SupportedContentTypes": ["application/jsonlines"],
        "SupportedResponseMIMETypes": ["application/jsonlines"],
    }


def test_a_package_is_changed_deleted_and_made_anew_while_it_waits(service: LocalService, ann: Person) -> None:
    group = f"edited-{uuid.uuid4().hex[:8]}"
    sagemaker, s3 = service.session().client("sagemaker"), service.session().client("s3")
    metrics = {"Bucket": "promotion-models", "Key": f"{group}/metrics.json"}
    s3.put_object(**metrics, Body=b'{"rougeL": 0.7}')
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://promotion-models/{group}/metrics.json"}
    arn = register(service, group, ModelMetrics={"ModelQuality": {"Statistics": statistics}})
    [first] = service.wait_for(lambda: mails_to(service, "ann@example.com", group))

    other = IMAGE.replace(":1", ":2")
    sagemaker.update_model_package(ModelPackageArn=arn, InferenceSpecification=specification(group, other))
    second, _ = service.wait_for(lambda: found if len(found := mails_to(service, "ann@example.com", group)) > 1 else [])
    page = ann.json(second["links"][0])
    assert (page["attempt"], page["changed"]) == (2, "Changed in the registry: image.")
    assert page["package"]["containers"][0]["image"] == other
    assert ann.json(first["links"][0])["state"] == "Superseded"

    # A page looks at the registry itself: no event has to come first.
    sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"licence": "gpl"})
    page = ann.json(second["links"][0])
    assert page["registry_changes"] == [{"what": "metadata licence", "registered": "", "now": "gpl"}]
    assert page["may_decide"]
    # Nor does an event tell of the document in S3.
    s3.put_object(**metrics, Body=b'{"rougeL": 0.9}')
    page = ann.json(second["links"][0])
    assert {"what": "metric rougeL", "registered": "0.7", "now": "0.9"} in page["registry_changes"]

    sagemaker.delete_model_package(ModelPackageName=arn)
    assert "no longer in the registry" in ann.json(second["links"][0])["why_not"]
    assert ann.decide(second["links"][0]).status_code == 403

    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert register(service, group) == arn, "the same ARN"
    third, *_ = service.wait_for(lambda: found if len(found := mails_to(service, "ann@example.com", group)) > 2 else [])
    page = ann.json(third["links"][0])
    assert (page["state"], page["model_package_version"], page["may_decide"]) == ("Pending", 1, True)
    assert ann.decide(third["links"][0]).status_code == 303
