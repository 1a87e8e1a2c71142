"""Register what examples/train_tabular.py wrote by SageMaker's own SDK, version 2: `pip install "sagemaker<3"`.

`python examples/register_tabular_sdk.py xgboost FOLDER --group churn --bucket BUCKET --requested-by dee@example.com`
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sagemaker import Session, image_uris
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics

# Framework and version as the SDK names AWS's own containers.
CONTAINERS = {"xgboost": ("xgboost", "1.7-1"), "scikit-learn": ("sklearn", "1.2-1")}
# What scikit-learn's container runs lies in the artifact, under code/.
VARIABLES = {"xgboost": {}, "scikit-learn": {"SAGEMAKER_PROGRAM": "inference.py"}}
MACHINE = "ml.m5.xlarge"
CSV = ["text/csv"]


def register(kind: str, folder: Path, *, group: str, bucket: str, requested_by: str, session: Any) -> None:
    """Upload artifact and metrics, and register the version; it waits for approval."""
    framework, version = CONTAINERS[kind]
    prefix = f"{group}/packages"
    artifact, metrics = (
        session.upload_data(str(folder / name), bucket=bucket, key_prefix=prefix)
        for name in ("model.tar.gz", "metrics.json")
    )
    model = Model(
        image_uri=image_uris.retrieve(framework, session.boto_region_name, version=version, instance_type=MACHINE),
        model_data=artifact,
        env=VARIABLES[kind],
        sagemaker_session=session,
    )
    model.register(
        model_package_group_name=group,
        content_types=CSV,
        response_types=CSV,
        inference_instances=[MACHINE],
        transform_instances=[MACHINE],
        approval_status="PendingManualApproval",
        description=f"Who leaves within a month, by {kind}.",
        model_metrics=ModelMetrics(model_statistics=MetricsSource("application/json", metrics)),
        customer_metadata_properties={"requested_by": requested_by},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(CONTAINERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", default="churn")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--requested-by", required=True, help="who is told what came of it")
    options = parser.parse_args()
    given = {"group": options.group, "bucket": options.bucket, "requested_by": options.requested_by}
    register(options.kind, options.folder, **given, session=Session(default_bucket=options.bucket))


if __name__ == "__main__":
    main()
