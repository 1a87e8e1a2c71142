"""A schedule of SageMaker Model Monitor with a custom container, on the inputs of a group's inference.

    python -m examples.monitoring create --group harbour-summariser                   # every hour
    python -m examples.monitoring create --group harbour-summariser --schedule NOW    # one execution, at once

Name the schedule under [[advanced.drift.monitors]] in promotion.toml: an execution that finds violations is drift. `check` is
what the container runs, told by Model Monitor in environment variables:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-contract-inputs.html
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3

from examples.job_roles import JOB_RIGHTS, policy
from inference.scoring.drift import drift
from promotion.domain.registration import baseline_of

BUCKET = "promotion-models"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/promotion-inference:1"
FOLDER = "/opt/ml/processing"
MESSAGE = "/opt/ml/output/message"
LARGEST_PSI = 0.25


def check(source: Path, baseline: Path, output: Path, message: Path, bound: float) -> list[dict[str, str]]:
    """Compare the records under `source` with the profile at `baseline`, and leave behind what Model Monitor looks for."""
    measured = drift(json.loads(baseline.read_text(encoding="utf-8")), _texts(source))
    violations = [
        {
            "feature_name": name.removesuffix("_psi"),
            "constraint_check_type": "baseline_drift_check",
            "description": f"population stability index {index:.3f}; at most {bound} is allowed",
        }
        for name, index in measured.items()
        if index > bound
    ]
    output.mkdir(parents=True, exist_ok=True)
    (output / "constraint_violations.json").write_text(json.dumps({"violations": violations}, indent=2))
    ended = "CompletedWithViolations" if violations else "Completed"
    message.write_text(f"{ended}: Job completed successfully with {len(violations) or 'no'} violations.")
    return violations


def create(
    name: str, address: str, baseline: str, bucket: str, expression: str = "cron(0 * ? * * *)", session: Any = None
) -> str:
    """Make a schedule over what lies at `address`, and a role that may read and write one bucket; the schedule's ARN."""
    session = session or boto3.Session()
    iam, sagemaker = session.client("iam"), session.client("sagemaker")
    role = f"monitor-{name}"
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = [
        (["s3:GetObject", "s3:PutObject"], [f"arn:aws:s3:::{bucket}/*"]),
        (["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"]),
        *JOB_RIGHTS,
    ]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": places} for actions, places in allowed]
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=policy([trust]))["Role"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName="monitor", PolicyDocument=policy(statements))
    definition = {
        "BaselineConfig": {"StatisticsResource": {"S3Uri": baseline}},
        "MonitoringInputs": [
            {
                "BatchTransformInput": {
                    "DataCapturedDestinationS3Uri": address,
                    "DatasetFormat": {"Json": {"Line": True}},
                    "LocalPath": f"{FOLDER}/input",
                }
            }
        ],
        "MonitoringOutputConfig": {
            "MonitoringOutputs": [{"S3Output": {"S3Uri": f"s3://{bucket}/monitoring", "LocalPath": f"{FOLDER}/output"}}]
        },
        "MonitoringResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
        "MonitoringAppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python", "-m", "examples.monitoring", "check"],
            "ContainerArguments": ["--message", MESSAGE],
        },
        "RoleArn": made,
    }
    window = {"DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "-PT0H"} if expression == "NOW" else {}
    answer = sagemaker.create_monitoring_schedule(
        MonitoringScheduleName=name,
        MonitoringScheduleConfig={
            "ScheduleConfig": {"ScheduleExpression": expression, **window},
            "MonitoringJobDefinition": definition,
            "MonitoringType": "DataQuality",
        },
    )
    return str(answer["MonitoringScheduleArn"])


def registered_baseline(group: str, session: Any = None) -> str:
    """Return the address of the training data's profile that the newest version of a group was registered with."""
    sagemaker = (session or boto3.Session()).client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending"
    )
    # A page may be empty and still not be the last.
    arn = next(package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"])
    place = baseline_of(sagemaker.describe_model_package(ModelPackageName=arn))
    if not place:
        raise SystemExit(f"{arn} was registered without a baseline; give one with --baseline.")
    return place


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.monitoring", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["create", "check"])
    parser.add_argument("--group")
    parser.add_argument("--environment", default="prod")
    parser.add_argument("--bucket", default=BUCKET)
    parser.add_argument("--baseline", help="a profile of the training data; default: the newest version's")
    parser.add_argument("--schedule", default="cron(0 * ? * * *)")
    parser.add_argument("--message", type=Path, default=Path(MESSAGE))
    options = parser.parse_args(arguments)
    if options.what == "check":
        told = {name: Path(os.environ[name]) for name in ("dataset_source", "baseline_statistics", "output_path")}
        found = check(
            told["dataset_source"], told["baseline_statistics"], told["output_path"], options.message, LARGEST_PSI
        )
        print(json.dumps(found))
    else:
        name = f"{options.group}-{options.environment}"
        address = f"s3://{options.bucket}/{options.group}/{options.environment}/input.jsonl"
        baseline = options.baseline or registered_baseline(options.group)
        print(create(name, address, baseline, options.bucket, options.schedule))
    return 0


def _texts(source: Path) -> Iterator[str]:
    for path in sorted(source.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield str(json.loads(line)["text_inputs"])


if __name__ == "__main__":
    sys.exit(main())
