"""A sample model of a few bytes that can't be served, registered as a data scientist would."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from typing import Any

from local import IMAGE, MODELS_BUCKET

GROUP = "sample"


def artifact(weights: bytes) -> bytes:
    """Return a model.tar.gz with the files of a T5 model and these `weights`, which can be registered but not run."""
    files = {
        "config.json": b'{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}',
        "tokenizer.json": b"{}",
        "model.safetensors": _weight_file(weights),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    # The archive's bytes are reproducible, so that another version with the same weights doesn't change the previous
    # one.
    return gzip.compress(packed.getvalue(), mtime=0)


def _weight_file(content: bytes) -> bytes:
    """Return one tensor of bytes in the safetensors format, as registration reads it."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return struct.pack("<Q", len(header)) + header + content


def register(client: Any) -> str:
    """Register one more version of the sample; return its ARN. `client` returns the boto3 client of a service."""
    s3, sagemaker = client("s3"), client("sagemaker")
    known = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    if GROUP not in {group["ModelPackageGroupName"] for group in known}:
        sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
    key = f"{GROUP}/model.tar.gz"
    s3.put_object(Bucket=MODELS_BUCKET, Key=key, Body=artifact(b"sample"))
    made = sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        ModelPackageDescription="A sample, to look at the mail and the page. Nothing serves it.",
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataProperties={"requested_by": "dee@example.com", "licence": "apache-2.0"},
        InferenceSpecification={
            "Containers": [
                {
                    "Image": IMAGE,
                    "ModelDataUrl": f"s3://{MODELS_BUCKET}/{key}",
                }
            ],
            "SupportedContentTypes": ["application/jsonlines"],
            "SupportedResponseMIMETypes": ["application/jsonlines"],
        },
    )
    arn: str = made["ModelPackageArn"]
    return arn
