"""A SageMaker pipeline that retrains the harbour summariser on what production sees now, and registers it.

    python -m examples.retraining create --group harbour-summariser      # the pipeline and its role, once
    python -m examples.retraining drift --group harbour-summariser       # put logs of another season before prod

Name the pipeline under [advanced.drift.retraining] in promotion.toml; from then on drift starts it, and what it registers
asks for its own approval. `run` is the pipeline's only step.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3

from examples.corpus import Log, logs
from examples.job_roles import JOB_RIGHTS, policy

PIPELINE = "retrain-harbour-summariser"
BUCKET = "promotion-models"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/promotion-inference:1"
_WINTER = (
    "Icebreaker Sisu cleared a channel through drift ice {metres} metres wide.",
    "Frost warning from the coast guard: minus {degrees} degrees, freezing spray expected overnight.",
    "Snowploughs worked the access road until dawn; salt stocks are running low.",
    "Pilots refuse boarding while pack ice presses against the breakwater.",
)


def winter_logs(count: int, seed: int = 7) -> Iterator[Log]:
    """Harbour logs of a season that is in no training log: the same news, in other words."""
    chance = random.Random(f"winter {seed}")  # noqa: S311  # made-up texts, no secrets
    for log in logs(count, seed=seed):
        facts = {"metres": chance.randrange(20, 90), "degrees": chance.randrange(8, 31)}
        said = " ".join(sentence.format(**facts) for sentence in chance.sample(_WINTER, 3))
        yield Log(f"{log.text} {said}", log.summary, log.day)


def definition() -> dict[str, Any]:
    """One processing step: fetch, train, measure, register."""
    asked = {"group": "Group", "input": "Input", "seconds": "Seconds", "bucket": "Bucket"}
    arguments: list[Any] = [part for name, of in asked.items() for part in (f"--{name}", {"Get": f"Parameters.{of}"})]
    return {
        "Version": "2020-12-01",
        "Parameters": [
            {"Name": "Group", "Type": "String"},
            {"Name": "Input", "Type": "String"},
            {"Name": "Seconds", "Type": "String", "DefaultValue": "30"},
            {"Name": "Bucket", "Type": "String", "DefaultValue": BUCKET},
        ],
        "Steps": [
            {
                "Name": "retrain",
                "Type": "Processing",
                "Arguments": {
                    "AppSpecification": {
                        "ImageUri": IMAGE,
                        "ContainerEntrypoint": ["python", "-m", "examples.retraining", "run"],
                        "ContainerArguments": arguments,
                    },
                    "ProcessingResources": {
                        "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
                    },
                    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
                },
            }
        ],
    }


def create(group: str, bucket: str, session: Any = None) -> str:
    """Make the pipeline, and a role that may read and write one bucket and register versions of one group; its ARN."""
    session = session or boto3.Session()
    iam, sagemaker = session.client("iam"), session.client("sagemaker")
    account = session.client("sts").get_caller_identity()["Account"]
    region = sagemaker.meta.region_name
    registry = f"arn:aws:sagemaker:{region}:{account}"
    trust = [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    job = f"{registry}:processing-job/pipelines-*"
    allowed = [
        (["s3:GetObject", "s3:PutObject"], [f"arn:aws:s3:::{bucket}/*"]),
        (["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"]),
        *JOB_RIGHTS,
        (["sagemaker:CreateModelPackage"], [f"{registry}:model-package/{group.lower()}/*"]),
        (
            ["sagemaker:CreateModelPackage", "sagemaker:CreateModelPackageGroup"],
            [f"{registry}:model-package-group/{group.lower()}"],
        ),
        (["sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob"], [job]),
        (["iam:PassRole"], [f"arn:aws:iam::{account}:role/{PIPELINE}"]),
    ]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": places} for actions, places in allowed]
    role = iam.create_role(RoleName=PIPELINE, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=PIPELINE, PolicyName="retrain", PolicyDocument=policy(statements))
    made = sagemaker.create_pipeline(
        PipelineName=PIPELINE,
        PipelineDefinition=json.dumps(definition()),
        RoleArn=role,
        ClientRequestToken=f"{PIPELINE}-{group}"[:128].ljust(32, "-"),
    )
    return str(made["PipelineArn"])


def put_winter(group: str, environment: str, bucket: str, count: int = 120, session: Any = None) -> str:
    """Put winter's logs where the runs of an environment read; returns the address of the input."""
    from examples.train_summarizer import write_held_out

    s3 = (session or boto3.Session()).client("s3")
    with tempfile.TemporaryDirectory() as scratch:
        for path in write_held_out(Path(scratch), list(winter_logs(count))):
            s3.upload_file(str(path), bucket, f"{group}/{environment}/{path.name}")
    return f"s3://{bucket}/{group}/{environment}/input.jsonl"


def retrain(group: str, address: str, bucket: str, seconds: float) -> str:
    """Train on the records at `address` and their references beside it, measure, and register; returns the package's ARN."""
    from examples import train_summarizer as summarizer
    from inference.scoring.drift import profile

    s3 = boto3.client("s3")
    source, _, key = address.removeprefix("s3://").partition("/")
    asked = _records(s3, source, key)
    wanted = {record["id"]: record["highlights"] for record in _records(s3, source, _beside(key, "references.jsonl"))}
    seen = [Log(record["text_inputs"], wanted[record["id"]], record["day"]) for record in asked]
    baseline = profile(log.text for log in seen)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        summarizer.train(folder, seconds=seconds, seed=1, corpus=seen * 10, quiet=True)
        (folder / "baseline.json").write_text(json.dumps(baseline))
        return summarizer.register(
            summarizer.pack(folder),
            summarizer.measure(folder, Path(scratch, "score")),
            group=group,
            bucket=bucket,
            requested_by="dee",
            task=summarizer.TASK,
            baseline=baseline,
            description=f"Retrained on {len(seen)} records of {address}.",
            metadata={"licence": "apache-2.0", "training_data": address},
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.retraining", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["create", "drift", "run"])
    parser.add_argument("--group", required=True)
    parser.add_argument("--environment", default="prod")
    parser.add_argument("--bucket", default=BUCKET)
    parser.add_argument("--input", help="the training data")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(arguments)
    if options.what == "create":
        print(create(options.group, options.bucket))
    elif options.what == "drift":
        print(put_winter(options.group, options.environment, options.bucket))
    else:
        print(retrain(options.group, options.input, options.bucket, options.seconds))
    return 0


def _records(s3: Any, bucket: str, key: str) -> list[dict[str, Any]]:
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return [json.loads(line) for line in body.splitlines() if line.strip()]


def _beside(key: str, name: str) -> str:
    return f"{key.rpartition('/')[0]}/{name}"


if __name__ == "__main__":
    sys.exit(main())
