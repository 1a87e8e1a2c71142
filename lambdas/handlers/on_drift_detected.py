"""A live model's input drifts and a retraining is due: start the configured pipeline, once."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from lambdas.shared.dependencies import client, config, logger, recorder
from promotion.config.settings import Retraining
from promotion.errors import PromotionError
from promotion.workflows.commands import RecordRetraining

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StartPipelineExecution.html
LONGEST_VALUE = 1024
LONGEST_DESCRIPTION = 3072


class DriftReport(Struct, frozen=True, kw_only=True):
    """The detail of this service's `Drift Detected` event; `retraining` is present if a retraining is due."""

    model_package_group: str
    model_package_version: int
    environment: str
    event_id: str
    retraining: str = ""
    reason: str = ""


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    try:
        drift = msgspec.convert(event.get("detail"), DriftReport)
    except msgspec.ValidationError as error:
        logger.error("event refused", extra={"reason": str(error), "event_id": event.get("id")})
        return {"refused": str(error)}
    retraining = config().retraining(drift.model_package_group)
    if retraining is None or drift.retraining != retraining.pipeline:
        return {"ignored": "no retraining is due, or another pipeline is configured by now"}
    execution = start(drift, retraining)
    try:
        receipt = recorder().record(
            RecordRetraining(
                group=drift.model_package_group,
                environment=drift.environment,
                version=drift.model_package_version,
                pipeline=retraining.pipeline,
                execution=execution,
            )
        )
    except PromotionError as error:
        logger.error("retraining not recorded", extra={"execution": execution, "reason": str(error)})
        return {"refused": str(error)}
    logger.info("retraining started", extra={"execution": execution, "model_package_group": drift.model_package_group})
    return {"execution": execution, "sequence": receipt.sequence}


def start(drift: DriftReport, retraining: Retraining) -> str:
    """Start the pipeline and return the execution's ARN. Idempotent by the event's id."""
    group, environment = drift.model_package_group, drift.environment
    inference = config().inference
    known = {
        "group": group,
        "environment": environment,
        "version": drift.model_package_version,
        "input": inference.input.format(bucket=inference.bucket, group=group, environment=environment),
    }
    answer = client("sagemaker").start_pipeline_execution(
        PipelineName=retraining.pipeline,
        ClientRequestToken=drift.event_id,
        PipelineExecutionDisplayName=f"drift-v{drift.model_package_version}-{drift.event_id[:12]}",
        PipelineExecutionDescription=(
            f"{group} v{drift.model_package_version} drifts in {environment}. {drift.reason}"
        )[:LONGEST_DESCRIPTION],
        PipelineParameters=[
            {"Name": name, "Value": value.format(**known)[:LONGEST_VALUE]}
            for name, value in retraining.parameters.items()
        ],
    )
    return str(answer["PipelineExecutionArn"])
