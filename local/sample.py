"""A model to begin with: a few bytes that nothing serves, registered as a data scientist would."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from local import MODELS_BUCKET, REGION

GROUP = "sample"


def register(client: Any) -> str:
    """Register one more version of the sample; `client` gives AWS's client of a service. Returns its ARN."""
    s3, sagemaker = client("s3"), client("sagemaker")
    known = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    if GROUP not in {group["ModelPackageGroupName"] for group in known}:
        sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("model.bin")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"bytes"))
    key = f"{GROUP}/model.tar.gz"
    s3.put_object(Bucket=MODELS_BUCKET, Key=key, Body=archive.getvalue())
    made = sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        ModelPackageDescription="A sample, to look at the mail and the page. Nothing serves it.",
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={"requested_by": "dee@example.com", "licence": "apache-2.0"},
        InferenceSpecification={
            "Containers": [
                {
                    "Image": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/inference:1",
                    "ModelDataUrl": f"s3://{MODELS_BUCKET}/{key}",
                }
            ],
            "SupportedContentTypes": ["application/jsonlines"],
            "SupportedResponseMIMETypes": ["application/jsonlines"],
        },
    )
    arn: str = made["ModelPackageArn"]
    return arn
