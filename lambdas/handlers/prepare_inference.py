"""The first state of the inference state machine: read the live version, verify its bytes, and build the requests of the
next states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from lambdas.shared.dependencies import (
    client,
    config,
    inference_image,
    ledger,
    logger,
    now,
    parameter_store,
    prefix,
    public_key,
)
from lambdas.shared.run_limits import check_sizes, check_time, remaining_s
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.s3.artifact_copies import with_copy
from promotion.aws.s3.artifacts import Absent, Denied, read_json
from promotion.client.artifact import split_uri
from promotion.client.live_record import LiveModel
from promotion.client.resolve import resolve
from promotion.domain import instance_types
from promotion.domain.model import VersionState
from promotion.domain.sagemaker_model import model_request
from promotion.domain.transform_format import TransformFormat, transform_format
from promotion.errors import Invalid, NotApproved, Refused

PROCESSING = "/opt/ml/processing"


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Return the requests of a run, or `run: false` with the reason; `unmeasured` is reported.

    Raises:
        IntegrityError: the record or the artifact is not the approved one; the state machine reports it.
    """
    group, environment = _text(event, "group"), _text(event, "environment")
    config().environment(environment, group)
    approved = partial(
        resolve,
        group,
        environment,
        public_key=public_key(),
        prefix=prefix(),
        ssm=parameter_store("reader"),
        s3=client("s3"),
    )
    try:
        model = approved()
        # The whole artifact is read, so the duration grows with its size.
        check_sizes(ledger().view(group).find_version(model.model_package_version))
        model = approved(artifact=True, on_bytes=partial(check_time, context))
    except NotApproved as error:
        return _nothing(str(error))
    except Refused as error:
        return _unmeasured(model, str(error))
    if _is_older(model):
        return _nothing(f"the live record is of event {model.sequence}, and a later one changed what is live")
    places = {"bucket": config().inference.bucket, "group": group, "environment": environment}
    evaluation = config().evaluation(group)
    inputs = _found(event.get("input") or (evaluation.input or "").format(**places))
    references = _found(event.get("references") or (evaluation.references or "").format(**places))
    if not _exists(inputs):
        return _unmeasured(model, f"There is no input at {inputs}")
    state = ledger().view(group).find_version(model.model_package_version)
    form = transform_format(
        inputs, model.content_types, state.package.response_types if state else (),
        content_type=evaluation.content_type, accept=evaluation.accept, input_filter=evaluation.input_filter,
    )  # fmt: skip
    image = inference_image()
    try:
        model = with_copy(
            model, s3=client("s3"), bucket=variables().evidence_bucket, own_image=image,
            always=config().artifacts.keep_copy, for_transform=True, remaining_s=partial(remaining_s, context),
        )  # fmt: skip
    except Refused as error:
        return _unmeasured(model, str(error))
    run = run_id(model, now())
    settings = event.get("settings") or {}
    folder = f"s3://{settings['evidence_bucket']}/{group}/{environment}/{run}"
    output = event.get("output") or folder
    about = {"model_package_group": group, "model_package_version": model.model_package_version}
    logger.info("inference prepared", extra={**about, "environment": environment, "run_id": run})
    run_context = f"{folder}/context/"
    _write_context(run_context, model, run)
    return requests(
        model, run=run, inputs=inputs, references=references if _exists(references) else "", output=output.rstrip("/"),
        settings=settings, image=image, context=run_context, form=form, score_options=evaluation.score_arguments,
    )  # fmt: skip


def _is_older(model: LiveModel) -> bool:
    """Return True if the record is older than the event that made the live version live: it was put back, or is late.

    The newer version gets its own run, from the event that made it live; `verify` reports a record that was put back.
    """
    return model.sequence < ledger().view(model.model_package_group).environment(model.environment).live_sequence


def requests(
    model: LiveModel,
    *,
    run: str,
    inputs: str,
    references: str,
    output: str,
    settings: dict[str, Any],
    image: str,
    context: str,
    form: TransformFormat,
    score_options: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the exact requests of the state machine for a run, and its final report."""
    wanted = config().at(model.environment).inference
    name = f"promotion-{run}"
    role = settings["execution_role_arn"]
    vpc = {"Subnets": settings.get("subnets") or [], "SecurityGroupIds": settings.get("security_groups") or []}
    ami = instance_types.transform_ami(wanted.instance_type, wanted.transform_ami_version)
    key = {"KmsKeyId": wanted.output_key} if wanted.output_key else {}
    score_inputs = [
        _input("outputs", f"{output}/transform/"),
        _input("inputs", inputs),
        _input("context", context),
        *([_input("references", references)] if references else []),
    ]
    arguments = [
        "--outputs", f"{PROCESSING}/input/outputs",
        "--inputs", f"{PROCESSING}/input/inputs",
        *(["--references", f"{PROCESSING}/input/references"] if references else []),
        "--approval", f"{PROCESSING}/input/context/approval.json",
        "--gates", f"{PROCESSING}/input/context/gates.json",
        "--live", f"{PROCESSING}/input/context/live.json",
        "--output", f"{PROCESSING}/output",
        *score_options,
    ]  # fmt: skip
    return {
        "run": True,
        "run_id": run,
        "model_name": name,
        "job_name": name,
        "score_job_name": f"{name}-score",
        "create_model": model_request(
            model,
            name=name,
            role=role,
            subnets=vpc["Subnets"],
            security_groups=vpc["SecurityGroupIds"],
            isolated=wanted.network_isolation,
        ),
        "transform": {
            "TransformJobName": name,
            "ModelName": name,
            "Environment": {"HYPER_PARAMS": wanted.hyper_params} if wanted.hyper_params else {},
            "BatchStrategy": form.batch_strategy,
            "MaxPayloadInMB": wanted.max_payload_mb,
            "MaxConcurrentTransforms": wanted.max_concurrent_transforms,
            "ModelClientConfig": {"InvocationsTimeoutInSeconds": 3600, "InvocationsMaxRetries": 1},
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": inputs}},
                "ContentType": form.content_type,
                "SplitType": form.split_type,
            },
            "DataProcessing": {"InputFilter": form.input_filter, "OutputFilter": "$", "JoinSource": "None"},
            "TransformOutput": {
                "S3OutputPath": f"{output}/transform/",
                "AssembleWith": form.assemble_with,
                "Accept": form.accept,
                **key,
            },
            "TransformResources": {
                "InstanceType": wanted.instance_type,
                "InstanceCount": wanted.instance_count,
                **({"TransformAmiVersion": ami} if ami else {}),
                **instance_types.volume_key(wanted.instance_type, wanted.volume_key),
            },
        },
        "score": {
            "ProcessingJobName": f"{name}-score",
            "RoleArn": role,
            "AppSpecification": {
                "ImageUri": image,
                "ContainerEntrypoint": ["python", "-m", "inference", "score"],
                "ContainerArguments": arguments,
            },
            "ProcessingInputs": score_inputs,
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "score",
                        "S3Output": {
                            "S3Uri": f"{output}/score/",
                            "LocalPath": f"{PROCESSING}/output",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ],
                **key,
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": wanted.score_instance_type,
                    "VolumeSizeInGB": 30,
                    **instance_types.volume_key(wanted.score_instance_type, wanted.volume_key),
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "NetworkConfig": {
                "EnableNetworkIsolation": wanted.network_isolation,
                **({"VpcConfig": vpc} if vpc["Subnets"] else {}),
            },
        },
        "report": {
            **_approval(model, run),
            "metrics_uri": f"{output}/score/metrics.json",
            "sequence": model.sequence,
        },
    }


def _write_context(context: str, model: LiveModel, run: str) -> None:
    """Write the context for scoring a run: the approval, the next gates, the metrics live there, the training data's profile.

    The context is in files, because a processing job's environment variables hold only 256 characters.
    """
    view = ledger().view(model.model_package_group)
    following = config().next(model.environment)
    gates: list[dict[str, object]] = []
    live: dict[str, float | None] = {}
    if following is not None:
        gates = [
            {"metric": gate.metric, "min": gate.min, "max": gate.max}
            for gate in config().environment(following, model.model_package_group).gates
            if gate.metric
        ]
        evidence = view.live_evidence(following)
        live = {name: metric.value for name, metric in evidence.metrics.items()} if evidence is not None else {}
    bucket, folder = split_uri(context, "context")
    documents: dict[str, object] = {"approval": _approval(model, run), "gates": gates, "live": live}
    if (baseline := _baseline(view.find_version(model.model_package_version))) is not None:
        documents["baseline"] = baseline
    for name, document in documents.items():
        client("s3").put_object(Bucket=bucket, Key=f"{folder}{name}.json", Body=json.dumps(document).encode())


def _baseline(state: VersionState | None) -> dict[str, object] | None:
    """Return the baseline for drift, or the reason why it can't be used; None without one. A gate on drift fails then."""
    if state is None or not state.package.baseline_uri:
        return None
    try:
        document, _ = read_json(client("s3"), state.package.baseline_uri, "DriftCheckBaselines")
    except Denied:
        raise
    except Invalid as error:
        logger.warning("baseline not read", extra={"reason": str(error)})
        return {names.BASELINE_PROBLEM: str(error)}
    # A profile of texts, or of columns, in our format or as SageMaker's statistics; scoring uses the one that fits its task.
    known = ({"length", "vocabulary"}, {"columns"}, {"features"})
    if not isinstance(document, dict) or not any(each <= document.keys() for each in known):
        return {
            names.BASELINE_PROBLEM: f"{state.package.baseline_uri} is neither a profile nor SageMaker's statistics.json."
        }
    return document | _constraints(state.package.baseline_uri)


def _constraints(statistics: str) -> dict[str, object]:
    """Return the constraints that SageMaker's baseline jobs write beside their statistics; empty if there are none."""
    folder, _, name = statistics.rpartition("/")
    if name != "statistics.json":
        return {}
    try:
        document, _ = read_json(client("s3"), f"{folder}/constraints.json", "DriftCheckBaselines")
    except (Absent, Denied) as error:
        # Without s3:ListBucket, S3 answers 403 for a missing object.
        logger.info("no constraints read", extra={"reason": str(error)})
        return {}
    except Invalid as error:
        logger.warning("constraints not read", extra={"reason": str(error)})
        return {names.CONSTRAINTS_PROBLEM: str(error)}
    if not isinstance(document, dict):
        return {names.CONSTRAINTS_PROBLEM: f"{folder}/constraints.json holds no JSON object."}
    return {"constraints": document}


def _approval(model: LiveModel, run: str) -> dict[str, object]:
    """Return the approval metadata of a run."""
    return {
        "approval_id": model.approval_id,
        "model_package_group": model.model_package_group,
        "model_package_version": model.model_package_version,
        "model_package_arn": model.model_package_arn,
        "environment": model.environment,
        "run_id": run,
    }


def run_id(model: LiveModel, moment: datetime) -> str:
    """Return a name for a run that sorts by time and is short enough for the names of its jobs (63 characters)."""
    unique = hashlib.sha256(f"{model.model_package_group}{moment:%f}".encode()).hexdigest()[:6]
    return f"{model.environment[:12]}-v{model.model_package_version}-{moment:%y%m%d-%H%M%S}-{unique}"


def _exists(uri: str) -> bool:
    """Return True if there is an object, or anything below a prefix.

    Raises:
        Invalid: the bucket doesn't exist or may not be listed, which is a fault of the deployment and not missing input.
    """
    bucket, key = split_uri(uri, "input")
    try:
        # A page may be empty and still not be the last.
        pages = (
            client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=key, PaginationConfig={"PageSize": 1})
        )
        return any(page.get("Contents") for page in pages)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise Invalid("input", f"{uri}: there is no bucket {bucket}; [inference] names it.") from None
        if code in ("AccessDenied", "403"):
            raise Invalid(
                "input",
                f"{uri}: this function may not list bucket {bucket}. Name it in [inference] input, references or bucket, "
                "and where it is another account's, let the roles of this service in by its policy.",
            ) from None
        raise


def _found(uri: str) -> str:
    """Return the input or references at `uri`; a `.csv` table is used if a `.jsonl` file is missing."""
    if not uri.endswith(".jsonl") or _exists(uri):
        return uri
    table = f"{uri.removesuffix('.jsonl')}.csv"
    return table if _exists(table) else uri


def _input(name: str, uri: str) -> dict[str, object]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{PROCESSING}/input/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }


def _nothing(reason: str) -> dict[str, object]:
    logger.info("nothing to run", extra={"reason": reason})
    return {"run": False, "reason": reason}


def _unmeasured(model: LiveModel, reason: str) -> dict[str, object]:
    """Report that there is no input, so that the state machine can record it."""
    report = {
        "environment": model.environment,
        "model_package_group": model.model_package_group,
        "model_package_version": model.model_package_version,
        "run_id": run_id(model, now()),
        "status": names.SKIPPED,
        "reason": reason,
    }
    return {**_nothing(reason), "unmeasured": True, "report": report}


def _text(event: dict[str, object], field: str) -> str:
    value = event.get(field)
    if not isinstance(value, str) or not value:
        raise Invalid(field, "a run needs a model package group and an environment.")
    return value
