"""Register what examples/train_tabular.py wrote, with the image of AWS's own container, by boto3 alone.

`python examples/register_tabular.py xgboost FOLDER --group churn --bucket BUCKET --requested-by dee@example.com`
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

# us-east-1; other regions: https://docs.aws.amazon.com/sagemaker/latest/dg/ecr-us-east-1.html
IMAGES = {
    "xgboost": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
    "scikit-learn": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
}
VARIABLES = {"xgboost": {}, "scikit-learn": {"SAGEMAKER_PROGRAM": "inference.py"}}
CSV = ["text/csv"]


def register(
    kind: str, folder: Path, *, group: str, bucket: str, requested_by: str, baseline: dict[str, Any] | None = None
) -> str:
    """Upload artifact and evidence, register the version, and return the model package's ARN."""
    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    try:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if "exist" not in str(error).lower():
            raise
    archive = (folder / "model.tar.gz").read_bytes()
    prefix = f"{group}/packages/{hashlib.sha256(archive).hexdigest()[:16]}"
    s3.put_object(Bucket=bucket, Key=f"{prefix}/model.tar.gz", Body=archive)
    s3.upload_file(str(folder / "metrics.json"), bucket, f"{prefix}/metrics.json")
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": f"Who leaves within a month, by {kind}.",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [
                {
                    "Image": IMAGES[kind],
                    "ModelDataUrl": f"s3://{bucket}/{prefix}/model.tar.gz",
                    "Environment": VARIABLES[kind],
                }
            ],
            "SupportedContentTypes": CSV,
            "SupportedResponseMIMETypes": CSV,
            "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
            "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.xlarge"],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": _json(f"s3://{bucket}/{prefix}/metrics.json")}},
        "CustomerMetadataProperties": {"requested_by": requested_by},
    }
    if baseline is not None:
        s3.put_object(Bucket=bucket, Key=f"{prefix}/baseline.json", Body=json.dumps(baseline))
        statistics = _json(f"s3://{bucket}/{prefix}/baseline.json")
        request["DriftCheckBaselines"] = {"ModelDataQuality": {"Statistics": statistics}}
    return str(sagemaker.create_model_package(**request)["ModelPackageArn"])


def _json(uri: str) -> dict[str, str]:
    return {"ContentType": "application/json", "S3Uri": uri}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(IMAGES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", default="churn")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--requested-by", required=True, help="the requester's address, to which decisions are mailed")
    options = parser.parse_args()
    given = {"group": options.group, "bucket": options.bucket, "requested_by": options.requested_by}
    print(register(options.kind, options.folder, **given))


if __name__ == "__main__":
    main()
