"""The whole loop on one machine, from a registration to the live parameter, and what breaks it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from local.service import LocalService
from tests.local.people import Person, mails_to, register


def asked(service: LocalService, group: str, **extra: Any) -> str:
    """Registers a package and returns the link that its first mail carries."""
    register(service, group, **extra)
    mail = service.wait_for(lambda: mails_to(service, "ann@example.com", group))[-1]
    link: str = mail["links"][0]
    return link


def live(service: LocalService, group: str, environment: str = "dev") -> dict[str, Any] | None:
    ssm = service.session().client("ssm")
    try:
        value = ssm.get_parameter(Name=f"/promotion/{group}/{environment}/live")["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    record: dict[str, Any] = json.loads(value)
    return record


def test_a_decision_by_mail_link_makes_a_version_live(service: LocalService, ann: Person) -> None:
    answer = ann.decide(asked(service, "loop-approved"))
    assert answer.status_code == 303
    record = service.wait_for(lambda: live(service, "loop-approved"))
    assert record is not None
    assert record["model_package_version"] == 1
    package = service.session().client("sagemaker").describe_model_package(ModelPackageName=record["model_package_arn"])
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CustomerMetadataProperties"]["dev"] == "Approved"
    # The person is named in the registry's record, by the source identity of the service's session.
    assert "ann" in package["LastModifiedBy"]["IamIdentity"]["SourceIdentity"].lower()


def test_opening_a_link_decides_nothing(service: LocalService, ann: Person) -> None:
    link = asked(service, "loop-opened")
    assert ann.browser.get(link).status_code == 200
    assert ann.json(link)["state"] == "Pending"


def test_of_fifty_posts_at_once_one_decides(service: LocalService, ann: Person) -> None:
    link = asked(service, "loop-fifty")
    csrf = ann.json(link)["csrf"]
    cookies = dict(ann.browser.cookies)

    def post(_: int) -> int:
        data = {"verdict": "Approved", "reason": "Looks right.", "csrf": csrf}
        answer = httpx.post(link, data=data, headers={"Origin": service.url}, cookies=cookies, timeout=300)
        return answer.status_code

    with ThreadPoolExecutor(50) as pool:
        statuses = sorted(pool.map(post, range(50)))
    assert statuses == [303] + [409] * 49


def test_a_request_expires_by_the_local_clock() -> None:
    with LocalService(inference=False) as service, Person(service, "ann") as person:
        link = asked(service, "loop-expired")
        before = time.time()
        service.advance_clock(73 * 3600)
        assert time.time() - before < 3600, "this process's own time stays as it is"
        person.sign_in(link)
        assert person.browser.get(link).status_code == 410
        # The sweep is due by then, and says so to the requester's side: the ledger has it, the registry follows.
        sagemaker = service.session().client("sagemaker")
        arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/loop-expired/1"

        def expired() -> bool:
            metadata = sagemaker.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
            return bool(metadata.get("dev") == "Expired")

        service.wait_for(expired)


def without(template: dict[str, Any], wanted: Callable[[str, dict[str, Any]], bool]) -> None:
    """Takes matching resources out of a template, and what refers to them with them; there must be some."""
    names = [name for name, body in template["Resources"].items() if wanted(name, body)]
    assert names
    for name in names:
        del template["Resources"][name]
    template["Resources"] = scrubbed(template["Resources"], names)


def scrubbed(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [scrubbed(each, names) for each in value if each not in names]
    if isinstance(value, dict):
        if value.get("Ref") in names or value.get("Fn::GetAtt", [None])[0] in names:
            return "taken-out"
        return {key: scrubbed(each, names) for key, each in value.items()}
    return value


def handler_of(template: dict[str, Any], module: str) -> str:
    found: str = next(
        name
        for name, body in template["Resources"].items()
        if body["Type"] == "AWS::Lambda::Function"
        and body["Properties"]["Handler"] == f"lambdas.handlers.{module}.handler"
    )
    return found


def registrations_of(template: dict[str, Any]) -> str:
    """The logical id of the queue of registrations."""
    [found] = [
        name
        for name, body in template["Resources"].items()
        if body["Type"] == "AWS::SQS::Queue" and "Registrations" in name
    ]
    return str(found)


def function_name(service: LocalService, module: str) -> str:
    functions = service.session().client("lambda").list_functions()["Functions"]
    name: str = next(
        each["FunctionName"] for each in functions if each["Handler"] == f"lambdas.handlers.{module}.handler"
    )
    return name


def test_without_the_rule_no_registration_is_seen() -> None:
    def edit(template: dict[str, Any]) -> None:
        target = registrations_of(template)
        without(template, lambda _, body: body["Type"] == "AWS::Events::Rule" and target in json.dumps(body)
                and "EventPattern" in body["Properties"])  # fmt: skip

    with LocalService(template_edit=edit, inference=False) as service:
        register(service, "unseen")
        # The same event by hand, for another group: what comes after the rule works.
        arn = register(service, "seen")
        detail = {"ModelPackageGroupName": "seen", "ModelPackageVersion": 1, "ModelPackageArn": arn,
                  "ModelApprovalStatus": "PendingManualApproval"}  # fmt: skip
        event = {"source": "aws.sagemaker", "detail-type": "SageMaker Model Package State Change", "id": "by-hand",
                 "time": "2026-01-01T00:00:00Z", "detail": detail}  # fmt: skip
        sqs = service.session().client("sqs")
        [queue] = [url for url in sqs.list_queues()["QueueUrls"] if "egistrations" in url]
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event))
        service.wait_for(lambda: mails_to(service, "ann@example.com", "seen v1"))
        assert not mails_to(service, "ann@example.com", "unseen")


def test_without_the_permission_the_event_is_undelivered() -> None:
    def edit(template: dict[str, Any]) -> None:
        target = registrations_of(template)
        without(
            template,
            lambda _, body: body["Type"] == "AWS::SQS::QueuePolicy" and target in json.dumps(body["Properties"]),
        )

    with LocalService(template_edit=edit, inference=False) as service:
        register(service, "undelivered")
        sqs = service.session().client("sqs")
        queues = [url for url in sqs.list_queues()["QueueUrls"] if "ndelivered" in url]

        def message() -> dict[str, Any]:
            found = sqs.receive_message(QueueUrl=queues[0], MessageAttributeNames=["All"]).get("Messages", [])
            return dict(found[0]) if found else {}

        left = service.wait_for(message)
        assert json.loads(left["Body"])["detail"]["ModelPackageGroupName"] == "undelivered"
        # As on AWS, which names the target beside the event.
        target = left["MessageAttributes"]["TARGET_ARN"]["StringValue"]
        assert "egistrations" in target
        assert service.mailbox() == []


def test_without_the_event_source_nothing_is_projected() -> None:
    def edit(template: dict[str, Any]) -> None:
        without(
            template,
            lambda _, body: body["Type"] == "AWS::Lambda::EventSourceMapping" and "StreamArn" in json.dumps(body),
        )

    with LocalService(template_edit=edit, inference=False) as service:
        register(service, "asleep")
        register(service, "woken")
        variables = {"asleep", "woken"}
        service.wait_for(
            lambda: all(f'"model_package_group":"{each}"' in service.logs("on_model_registered") for each in variables)
        )
        # The wake-up that the stream would have given, by hand, for one of the two groups.
        queue = next(url for url in service.session().client("sqs").list_queues()["QueueUrls"] if "ake" in url)
        service.session().client("sqs").send_message(
            QueueUrl=queue,
            MessageBody=json.dumps({"model_package_group": "woken", "group": "woken"}),
            MessageGroupId="woken",
            MessageDeduplicationId="by-hand",
        )
        service.wait_for(lambda: mails_to(service, "ann@example.com", "woken"))
        assert not mails_to(service, "ann@example.com", "asleep")


def test_without_the_route_nobody_decides() -> None:
    def edit(template: dict[str, Any]) -> None:
        without(template, lambda _, body: body["Type"] == "AWS::ApiGatewayV2::Route"
                and body["Properties"]["RouteKey"] == "POST /approvals/{token}")  # fmt: skip

    with LocalService(template_edit=edit, inference=False) as service, Person(service, "ann") as person:
        link = asked(service, "unrouted")
        person.sign_in(link)
        answer = person.decide(link)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_without_the_policy_statement_the_parameter_stays_as_it_was() -> None:
    def edit(template: dict[str, Any]) -> None:
        edited = 0
        for body in template["Resources"].values():
            if body["Type"] == "AWS::IAM::Policy":
                for statement in body["Properties"]["PolicyDocument"]["Statement"]:
                    actions = statement["Action"]
                    listed = [actions] if isinstance(actions, str) else actions
                    if "ssm:PutParameter" in listed:
                        statement["Action"] = [each for each in listed if each != "ssm:PutParameter"] or [
                            "ssm:GetParameter"
                        ]
                        edited += 1
        assert edited

    with LocalService(template_edit=edit, inference=False) as service:
        register(service, "unwritten")

        def trouble() -> bool:
            return "AccessDeniedException" in service.logs("on_projection_due")

        service.wait_for(trouble)
        assert live(service, "unwritten") is None


def test_a_method_that_has_no_route_is_not_found(service: LocalService) -> None:
    answer = httpx.put(f"{service.url}/healthz", timeout=60)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


@pytest.mark.parametrize("path", ["/nowhere", "/approvals", "/_local/nowhere"])
def test_any_other_address_is_a_page_with_a_way_back(service: LocalService, path: str) -> None:
    answer = httpx.get(f"{service.url}{path}", timeout=60)
    assert answer.status_code == 404
    assert '<a class="button" href="/">To the board</a>' in answer.text


def test_models_is_the_board(service: LocalService) -> None:
    with Person(service, "ann") as person:
        person.sign_in("/models")
        assert person.json("/models")["environments"] == person.json("/?format=json")["environments"]
