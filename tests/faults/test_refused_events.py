"""Events that name nothing of this service change nothing, and calls that fail stop only what needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import time_machine
from botocore.exceptions import ClientError, EndpointConnectionError
from moto.sagemaker.models import sagemaker_backends

from promotion import names
from promotion.errors import IntegrityError, Invalid
from tests.fakes import ANN, GROUP
from tests.faults.people import confirmed_as
from tests.faults.resources import client, forget, function
from tests.faults.simulation import BEGINNING, Simulation

ARN = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/1"
RUN = {"environment": "dev", "run_id": "dev-1", "model_package_version": 1, "request": {"group": GROUP}}


def package(version: int = 1) -> Any:
    packages = sagemaker_backends["123456789012"]["us-east-1"].model_packages
    return packages[f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"]


def register_beside_broken(service: Simulation) -> None:
    """Register version 1 of the group, and of another one that a test will break."""
    with service.without_faults():
        client("sagemaker").create_model_package_group(ModelPackageGroupName="broken")
    for group in ("broken", GROUP):
        service.register(group=group)
    service.settle()


def tell(module: str, detail: object, **more: object) -> Any:
    """Deliver one event to a function."""
    event = {"id": "made-up", "detail": detail, **more}
    if module != "on_model_registered":
        return function(module)(event, None)
    from lambdas.handlers.on_model_registered import take

    return take(event, None)


@pytest.mark.parametrize(
    ("module", "detail", "answer"),
    [
        ("on_model_registered", None, "Expected `object`, got `null`"),
        ("on_model_registered", {"ModelPackageArn": 1}, "Expected `str`, got `int`"),
        ("on_approval_changed", {"ModelPackageGroupName": GROUP}, "missing required field `ModelPackageArn`"),
        (
            "on_inference_completed",
            {"environment": "dev", "run_id": "r", "status": "Skipped", "request": {"group": GROUP}},
            "'' is not governed by this service",
        ),
        (
            "on_inference_completed",
            {
                **RUN,
                "status": "Skipped",
                "model_package_group": GROUP,
                "model_package_version": 7,
                "reason": "no input",
            },
            "7",
        ),
        (
            "on_inference_completed",
            {"environment": "dev", "run_id": "r", "status": "Failed", "error": "x", "request": {"group": ""}},
            "'' is not governed by this service",
        ),
    ],
)
def test_an_event_about_nothing_that_is_known_is_refused(
    service: Simulation, module: str, detail: object, answer: str
) -> None:
    service.register()
    service.settle()
    before = service.story()
    assert answer in tell(module, detail)["refused"]
    assert service.story() == before


def test_a_group_with_another_kind_of_name_is_ignored(service: Simulation) -> None:
    assert tell("on_model_registered", {"ModelPackageArn": f"{ARN[:-2]}/1", "ModelPackageGroupName": "_x"}) == {
        "ignored": "group not governed"
    }


def test_a_status_that_was_taken_back_meanwhile_is_no_bypass(service: Simulation) -> None:
    service.register()
    service.settle()
    before = service.story()
    assert tell("on_approval_changed", {"ModelPackageArn": ARN}) == {"ignored": "the status has changed again"}
    assert service.story() == before


def test_a_package_that_sagemaker_still_makes_waits(service: Simulation) -> None:
    service.register()
    package().model_package_status = "InProgress"
    with service.without_faults():
        assert tell("on_model_registered", {"ModelPackageArn": ARN}) == {"waits": "InProgress"}
    service.settle()
    assert service.story() == []


def test_a_package_that_sagemaker_could_not_make_is_recorded_with_the_reason(service: Simulation) -> None:
    service.register()
    package().model_package_status = "Failed"
    package().model_package_status_details = {
        "ValidationStatuses": [{"Name": "v", "Status": "Failed", "FailureReason": "The container did not start."}]
    }
    service.settle()
    assert [kind for kind, _, _ in service.story()] == ["Policy Changed", "Model Registered"]
    page = service.open(f"/models/{GROUP}/versions/1")
    assert "SageMaker could not make the package: The container did not start." in page


def test_the_message_of_a_functions_error_is_shown_without_its_trace(service: Simulation) -> None:
    service.register()
    service.settle()
    service.promote(1, "dev")
    cause = json.dumps({"errorMessage": "there is no bucket", "stackTrace": ["secret line"]})
    service.fail(1, "dev", cause, broken=False)
    service.settle()
    page = service.open(f"/models/{GROUP}")
    assert "there is no bucket" in page
    assert "secret line" not in page


@pytest.mark.parametrize(
    ("form", "by", "status", "code"),
    [
        ({"operation": "report"}, "role/somebody", 403, "not_reporter"),
        ({"operation": "revoke"}, "role/somebody", 403, "not_operator"),
        ({"operation": "ask", "group": "_x", "version": "1", "arn": ARN}, "role/operations", 400, "invalid"),
        ({"operation": "ask", "group": GROUP, "version": "2", "arn": ARN}, "role/operations", 400, "invalid"),
    ],
)
def test_an_operation_that_is_not_its_callers_is_refused(
    service: Simulation, form: dict[str, str], by: str, status: int, code: str
) -> None:
    got, document = operate(by, **form)
    assert (got, document["error"]) == (status, code)
    assert service.story() == []


def operate(by: str, **form: str) -> tuple[int, dict[str, Any]]:
    """Send an operation, signed by a principal of the account; return the answer's status and document."""
    event = {
        "version": "2.0", "rawPath": "/operations", "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"host": "promotion.example.com", "content-type": "application/json", "accept": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/operations"}, "stage": "$default"},
        "body": json.dumps({"group": GROUP, "reason": "for a test", **form}),
    }  # fmt: skip
    with confirmed_as(f"arn:aws:iam::123456789012:{by}"):
        answer = function("operate")(event, None)
    return answer["statusCode"], json.loads(answer["body"])


def test_a_report_about_a_group_that_is_not_governed_is_refused(service: Simulation, tmp_path: Path) -> None:
    config = tmp_path / names.CONFIG_FILE
    text = config.read_text(encoding="utf-8").replace('groups = ["*"]', f'groups = ["{GROUP}"]')
    reporters = '[advanced.inference]\nreporters = ["arn:aws:iam::123456789012:role/evaluation"]\n'
    config.write_text(f"{text}\n{reporters}", encoding="utf-8")
    forget()
    report = {"operation": "report", "environment": "dev", "version": "1", "metrics": '{"auc": {"value": 0.9, "n": 9}}'}
    status, document = operate("role/evaluation", **report, group="other")
    assert (status, document["error"], document["message"]) == (
        400,
        "invalid",
        "group: 'other' is not governed by this service.",
    )
    status, document = operate("role/evaluation", **report)
    assert (status, document["message"]) == (
        404,
        f"version: {GROUP} has no version 1 that this service knows of.",
    )


def test_a_run_without_a_group_is_refused_by_field(service: Simulation) -> None:
    with pytest.raises(Invalid, match=r"^group: a run needs a model package group"):
        function("prepare_inference")({"environment": "dev"}, None)


def unreachable(call: str, given: dict[str, Any]) -> bool:
    if "projections" in repr(given):
        raise EndpointConnectionError(endpoint_url="https://dynamodb")
    return False


def throttled(call: str, given: dict[str, Any]) -> bool:
    return "projections" in repr(given)


@pytest.mark.parametrize("fails", [unreachable, throttled])
def test_pages_open_without_the_projections(service: Simulation, fails: Callable[[str, dict[str, Any]], bool]) -> None:
    service.register()
    service.settle()
    service.promote(1, "dev")
    service.fails_if = fails
    pages = [service.open(path) for path in ("/", f"/models/{GROUP}", f"/models/{GROUP}/versions/1")]
    for page in (*pages, service.look(1, "dev")):
        assert "· Model promotion</title>" in page
        assert f"/models/{GROUP}" in page


def test_a_wake_up_that_the_queue_refuses_comes_again(service: Simulation) -> None:
    refused: list[dict[str, Any]] = []

    def once(call: str, given: dict[str, Any]) -> bool:
        if call == "sqs:SendMessage" and not refused:
            refused.append(given)
            return True
        return False

    service.fails_if = once
    service.register()
    service.settle()
    assert len(refused) == 1
    assert len(service.mails) == 1


def test_a_sweep_goes_on_after_a_group_that_fails(service: Simulation) -> None:
    register_beside_broken(service)
    with service.without_faults():
        client("sagemaker").delete_model_package(ModelPackageName=ARN)

    def fails(call: str, given: dict[str, Any]) -> bool:
        return call == "sagemaker:DescribeModelPackage" and "/broken/" in given["ModelPackageName"]

    service.fails_if = fails
    with time_machine.travel(BEGINNING + timedelta(hours=1), tick=True), pytest.raises(ClientError):
        function("sweep")({}, None)
    assert [kind for kind, _, _ in service.story()][-1] == "Package Removed"


def test_a_group_that_cant_be_anchored_keeps_no_other_from_it(service: Simulation) -> None:
    register_beside_broken(service)
    service.fails_if = lambda call, given: call == "s3:PutObject" and given["Key"].startswith("heads/broken")
    answer = function("verify")({}, None)
    assert (answer["groups"], answer["differences"], answer["anchored"]) == (2, 0, 1)


def test_operators_who_cant_be_told_hold_no_group_back(service: Simulation) -> None:
    def fails(call: str, given: dict[str, Any]) -> bool:
        return call in ("sns:Publish", "ssm:PutParameter")

    service.register()
    service.settle()
    assert service.decide(1, "dev", ANN) == 303
    service.fails_if = fails
    service.settle()
    assert len(service.dead) == 1
    service.fails_if = None
    service.redrive()
    with service.without_faults():
        assert boto3.client("ssm").get_parameters_by_path(Path="/promotion", Recursive=True)["Parameters"]
    assert service.differences() == []


def damage(group: str) -> None:
    """Write what is no state over a group's head and states, so that they can't be folded anew either."""
    table = boto3.resource("dynamodb").Table("ledger")
    for key in ("HEAD", "ENV#dev"):
        item = table.get_item(Key={"pk": f"GROUP#{group}", "sk": key})["Item"]
        table.put_item(Item={**item, "state": "{"})


def test_a_group_whose_states_are_damaged_stops_no_other(service: Simulation) -> None:
    register_beside_broken(service)
    service.promote(1, "dev")
    with service.without_faults():
        damage("broken")
    assert f"/models/{GROUP}" in service.open("/")
    assert function("schedule_runs")({}, None) == {"runs": 1}
    service.register()
    service.settle()
    assert service.story()[-1] == ("Approval Requested", 2, "dev")
    later, refused = BEGINNING + timedelta(days=4), "broken: its states can't be read"
    with time_machine.travel(later, tick=True), pytest.raises(IntegrityError, match=refused):
        function("sweep")({}, None)
    assert ("Request Expired", 2, "dev") in service.story()


def test_a_registration_that_cant_even_be_delayed_is_not_lost(service: Simulation) -> None:
    service.fails_if = lambda call, given: call in ("sagemaker:DescribeModelPackage", "sqs:ChangeMessageVisibility")
    service.register()
    service.settle()
    assert (service.story(), len(service.undelivered)) == ([], 1)
    service.fails_if = None
    service.redrive()
    assert service.story()[-1] == ("Approval Requested", 1, "dev")
