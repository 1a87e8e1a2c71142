"""From a folder with a model to a registered model package: pack, upload, register, by nothing but boto3.

This is what a team's own training job would do; the service needs no library of its own for it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

CONTENT_TYPES = ["application/jsonlines", "application/json"]
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/promotion-inference:1"
# Files of an artifact. Pickled weights are left out by not being named: they run code when opened.
_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja", ".md")


def pack(folder: Path, archive: Path | None = None) -> Path:
    """`model.tar.gz` of a model folder: the same bytes for the same files."""
    archive = archive or folder.with_name(f"{folder.name}.tar.gz")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _SUFFIXES)
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(member, stream)
    return archive


def register(
    archive: Path,
    metrics: Mapping[str, Any],
    *,
    group: str,
    bucket: str,
    requested_by: str,
    task: str,
    baseline: Mapping[str, Any] | None = None,
    image: str = IMAGE,
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    card: Mapping[str, Any] | None = None,
    generated_by: str = "",
    session: Any = None,
) -> str:
    """Put an artifact and its evidence into S3 and register it; returns the model package's ARN.

    It waits for approval: nothing serves it before somebody has said so, environment by environment.
    """
    session = session or boto3.Session()
    sagemaker, s3 = session.client("sagemaker"), session.client("s3")
    _make_group(sagemaker, group)
    sha256 = _digest(archive)
    prefix = f"{group}/packages/{sha256[:16]}"
    s3.upload_file(str(archive), bucket, f"{prefix}/model.tar.gz")
    s3.put_object(Bucket=bucket, Key=f"{prefix}/metrics.json", Body=json.dumps(metrics), ContentType="application/json")
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": description or f"{group}, registered by {requested_by}",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": image,
                    "ModelDataUrl": f"s3://{bucket}/{prefix}/model.tar.gz",
                    "Environment": {"HF_TASK": task},
                }
            ],
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": CONTENT_TYPES,
            "SupportedTransformInstanceTypes": ["ml.g5.xlarge", "ml.m5.xlarge"],
            "SupportedRealtimeInferenceInstanceTypes": ["ml.g5.xlarge", "ml.m5.xlarge"],
        },
        "ModelMetrics": {
            "ModelQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{bucket}/{prefix}/metrics.json"}
            }
        },
        "CustomerMetadataProperties": {"requested_by": requested_by, "sha256": sha256, **(metadata or {})},
    }
    if baseline is not None:
        s3.put_object(Bucket=bucket, Key=f"{prefix}/baseline.json", Body=json.dumps(baseline))
        statistics = {"ContentType": "application/json", "S3Uri": f"s3://{bucket}/{prefix}/baseline.json"}
        request["DriftCheckBaselines"] = {"ModelDataQuality": {"Statistics": statistics}}
    if card is not None:
        # https://docs.aws.amazon.com/sagemaker/latest/dg/model-cards-json-schema.html
        request["ModelCard"] = {"ModelCardContent": json.dumps(card), "ModelCardStatus": "Draft"}
    if generated_by:
        request["MetadataProperties"] = {"GeneratedBy": generated_by}
    return str(sagemaker.create_model_package(**request)["ModelPackageArn"])


def _make_group(sagemaker: Any, group: str) -> None:
    try:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        # That it exists already is the usual case, and has no error code of its own.
        if "exist" not in str(error).lower():
            raise


def _digest(archive: Path) -> str:
    with archive.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
