"""Reconcile real-time endpoints with the live models: after a change of either, and all of them every few minutes.

Each call does one step; SageMaker's event at the end of a step invokes the function again.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lambdas.shared.dependencies import (
    client,
    config,
    cross_account,
    ledger,
    logger,
    parameter_store,
    prefix,
    public_key,
    recorder,
)
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.s3.artifact_copies import with_copy
from promotion.aws.sagemaker.sagemaker_endpoints import REFUSALS, Endpoints, passes
from promotion.client.resolve import resolve
from promotion.config.settings import Endpoint
from promotion.domain import endpoint_plan
from promotion.domain.endpoint_plan import Observed, Wanted
from promotion.domain.model import EndpointState, EnvironmentState
from promotion.errors import IntegrityError, Invalid, NotApproved, PromotionError
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows.commands import RecordEndpoint


class Behind(Exception):
    """Parameter Store is behind the ledger: the event's sender retries, and after that the sweep."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    done: dict[str, str] = {}
    failures: list[Exception] = []
    for group, environment in _places(event):
        try:
            done[f"{group}/{environment}"] = follow(group, environment)
        except Exception as error:  # noqa: BLE001 - one model's endpoint must not hold up another's; all of them are told below
            logger.warning("endpoint not followed", extra=_place(group, environment) | {"reason": str(error)})
            failures.append(error)
    logger.info("endpoints followed", extra={"steps": done, "failed": len(failures)})
    if failures:
        raise failures[0]
    return {"steps": done}


def follow(group: str, environment: str) -> str:
    """Take one step towards the live version of an environment; return the step.

    Raises:
        Behind: Parameter Store is not up to date with the ledger yet.
    """
    view = ledger().view(group)
    state = view.environment(environment)
    settings = _settings(group, environment)
    name = names.endpoint_name(settings.name, prefix(), environment, group) if settings else state.endpoint.name
    endpoints = _endpoints(environment)
    try:
        wanted = _wanted(view, state, settings) if settings else None
    except (IntegrityError, Invalid) as error:
        # The serving version was approved and checked, but its successor fails the check, so the endpoint is left unchanged.
        _record(state, EndpointState(name=name, status=names.ENDPOINT_FAILED, problem=str(error)))
        return "failed"
    found = endpoints.find(name)
    revoked = _is_revoked(view, found)
    step = endpoint_plan.next_step(wanted, found, revoked=revoked)
    try:
        endpoints.take(step, wanted, name, settings, revoked=revoked)
    except ClientError as error:
        if passes(error):
            return "wait"
        if error.response["Error"]["Code"] not in REFUSALS:
            raise
        return _refused(state, wanted, found, error)
    seen = endpoint_plan.seen(step, wanted, found, state.endpoint)
    if step == "settled":
        endpoints.tidy(group, wanted.name if wanted else "")
        if seen is not None and wanted is None:
            endpoints.silence(name)
    # Recorded last, because an endpoint that is recorded as removed is not reconciled again.
    if seen is not None:
        _record(state, seen)
    return step


def _settings(group: str, environment: str) -> Endpoint | None:
    """Return a group's endpoint settings; None removes an endpoint that still exists."""
    if environment not in config().environment_names or not config().governs(group):
        return None
    settings = config().environment(environment, group).endpoint
    return settings if settings is not None and settings.serves(group) else None


def _wanted(view: GroupSnapshot, state: EnvironmentState, settings: Endpoint) -> Wanted | None:
    if state.endpoint.removed or state.live is None:
        return None
    try:
        model = resolve(
            view.group,
            state.name,
            public_key=public_key(),
            prefix=prefix(),
            ssm=parameter_store("reader"),
        )
    except NotApproved as error:
        raise Behind(str(error)) from None
    if model.sequence != state.live_sequence:
        raise Behind(
            f"the live record is of event {model.sequence}, and event {state.live_sequence} changed what is live"
        )
    model = with_copy(
        model,
        s3=client("s3"),
        bucket=variables().evidence_bucket,
        own_image=variables().inference_image,
        always=config().artifacts.keep_copy,
    )
    return endpoint_plan.wanted(
        model,
        settings,
        config().at(state.name).inference,
        prefix=prefix(),
        role=variables().execution_roles[state.name],
        asked=state.endpoint.asked,
    )


def _is_revoked(view: GroupSnapshot, found: Observed | None) -> bool:
    serving = view.find_version(found.version) if found is not None and found.version is not None else None
    return serving is not None and serving.revoked


def _refused(state: EnvironmentState, wanted: Wanted | None, found: Observed | None, error: ClientError) -> str:
    """Report once that SageMaker refused a step (a quota, a role, an instance type); the sweep retries it."""
    said = error.response["Error"]
    _record(
        state,
        EndpointState(
            name=wanted.endpoint if wanted else state.endpoint.name,
            status=names.ENDPOINT_FAILED,
            version=found.version if found is not None and found.status == "InService" else None,
            config=wanted.name if wanted else "",
            problem=f"{error.operation_name} was refused: {said.get('Message', said['Code'])}",
        ),
    )
    return "refused"


def _record(state: EnvironmentState, seen: EndpointState) -> None:
    version = state.live if state.live is not None else state.endpoint.version
    if version is None or endpoint_plan.same(seen, state.endpoint):
        return
    try:
        receipt = recorder().record(
            RecordEndpoint(group=state.group, environment=state.name, version=version, endpoint=seen)
        )
    except PromotionError as error:
        logger.error("endpoint not recorded", extra=_place(state.group, state.name) | {"reason": str(error)})
        return
    extra = {"status": seen.status, "model_package_version": version, "sequence": receipt.sequence}
    logger.info("endpoint recorded", extra=_place(state.group, state.name) | extra)


def _places(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Map an event to the (group, environment) pairs to reconcile."""
    detail = event.get("detail") or {}
    kind = event.get("detail-type")
    if kind in names.ENDPOINT_STATE_CHANGES:
        return [place for place in _all() if _named(*place) == detail.get("EndpointName")]
    group = detail.get("model_package_group")
    if not isinstance(group, str):
        return _all()
    touched = [detail["environment"]] if detail.get("environment") else list(detail.get("falls_back") or {})
    return [(group, name) for name in touched if isinstance(name, str) and _settings(group, name) is not None]


def _all() -> list[tuple[str, str]]:
    """List each (group, environment) that has an endpoint, or should have one, according to the ledger."""
    return [
        (state.group, state.name)
        for state in ledger().environments()
        if _settings(state.group, state.name) is not None or state.endpoint.status not in ("", names.ENDPOINT_WITHDRAWN)
    ]


def _named(group: str, environment: str) -> str:
    settings = _settings(group, environment)
    return names.endpoint_name(settings.name, prefix(), environment, group) if settings else ""


def _place(group: str, environment: str) -> dict[str, object]:
    return {"model_package_group": group, "environment": environment}


def _endpoints(environment: str) -> Endpoints:
    if environment in config().cross_account:
        there = cross_account("endpoints").clients(environment)
        return Endpoints(there("sagemaker"), there("cloudwatch"), prefix(), environment)
    return Endpoints(client("sagemaker"), client("cloudwatch"), prefix(), environment)
