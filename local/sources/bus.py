"""Delivery of events that match a rule to Lambda, Step Functions and SQS, with the permissions in the template."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.sqs.models import sqs_backends

from local import ACCOUNT, REGION
from local.aws import access, policies
from local.aws.callers import service_session
from local.clients import any_client
from local.deployment import Deployment
from local.runtime import envelope
from local.runtime.function import Function, Outcome
from local.sources.dead_letters import undelivered_event

log = logging.getLogger("local.events")
_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]+)>")


class Undelivered(Exception):
    """A target can't be reached; the event goes to the target's dead-letter queue, if it has one."""


class Bus:
    """Deliver events that match rules of moto's EventBridge, in the background."""

    def __init__(
        self, deployment: Deployment, aws_url: str, woken: Callable[[], None], *, start_machines: bool = True
    ) -> None:
        self._deployment = deployment
        self._start_machines = start_machines
        self._aws_url = aws_url
        self._woken = woken
        self._workers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="bus")

    def deliver(self, rule: Any, target: dict[str, Any], event: dict[str, Any]) -> None:
        """Start a delivery and return at once, as PutEvents does."""
        self._workers.submit(self._deliver, str(rule.arn), dict(target), event)

    def stop(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, rule_arn: str, target: dict[str, Any], event: dict[str, Any]) -> None:
        try:
            text = target_input(target, event)
            service = target["Arn"].split(":")[2]
            match service:
                case "lambda":
                    self._to_function(rule_arn, target, text)
                case "states":
                    self._to_machine(target, text)
                case "sqs":
                    self._to_queue(rule_arn, target["Arn"], text, target.get("SqsParameters", {}).get("MessageGroupId"))
                case _:
                    raise Undelivered(f"the local service can't deliver to {service}")
        except (Undelivered, PermissionError, ClientError, BotoCoreError) as failure:
            log.warning("rule %s: not delivered to %s: %s", rule_arn.rsplit("/", 1)[-1], target["Arn"], failure)
            dead_letter = target.get("DeadLetterConfig", {}).get("Arn")
            if dead_letter:
                self._to_dead_letters(
                    rule_arn, dead_letter, event, undelivered_event(rule_arn, target["Arn"], str(failure))
                )
        except Exception:
            log.exception("rule %s: delivery to %s broke", rule_arn, target["Arn"])

    def _to_dead_letters(
        self, rule_arn: str, queue_arn: str, event: dict[str, Any], attributes: dict[str, Any]
    ) -> None:
        try:
            self._to_queue(rule_arn, queue_arn, json.dumps(event), None, attributes)
        except Undelivered as failure:
            log.warning("the event is lost: %s", failure)

    def _to_function(self, rule_arn: str, target: dict[str, Any], text: str) -> None:
        function = self._deployment.function(target["Arn"])
        if function is None:
            raise Undelivered("there is no such function")
        if not self._deployment.may_invoke("events.amazonaws.com", rule_arn, function.settings.arn):
            raise Undelivered("the function has no permission for this rule")
        invoke_later(function, text.encode(), self._woken)

    def _to_machine(self, target: dict[str, Any], text: str) -> None:
        if not self._start_machines:
            log.info("LOCAL_INFERENCE=0: %s not started", target["Arn"].rsplit(":", 1)[-1])
            return
        session = service_session(target["RoleArn"], "events", "events.amazonaws.com")
        client = any_client("stepfunctions", region_name=REGION, endpoint_url=self._aws_url, **session)
        client.start_execution(stateMachineArn=target["Arn"], input=text)

    def _to_queue(
        self,
        rule_arn: str,
        queue_arn: str,
        text: str,
        group: str | None,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        context = {"aws:SourceArn": rule_arn, "aws:SourceAccount": ACCOUNT, "aws:SecureTransport": "true"}
        if not policies.decision(
            "sqs:SendMessage",
            queue_arn,
            context,
            identity=(),
            on_resource=access.resource_policies.get(queue_arn, ()),
            principals=("events.amazonaws.com",),
        ):
            raise Undelivered(f"the policy of {queue_arn} does not let EventBridge send for {rule_arn}")
        send(queue_arn, text, group, attributes)
        self._woken()


def invoke_later(function: Function, payload: bytes, woken: Callable[[], None]) -> None:
    """Invoke a function asynchronously; an event that fails permanently goes to its dead-letter queue, if it has one."""

    def to_dead_letters(failed: bytes, outcome: Outcome) -> None:
        if function.settings.dead_letter:
            send(function.settings.dead_letter, envelope.record(function.settings, failed, outcome))
            woken()

    function.invoke_later(payload, to_dead_letters)


def send(queue_arn: str, text: str, group: str | None = None, attributes: dict[str, Any] | None = None) -> None:
    """Send a message from an AWS service to a queue."""
    queue = queue_arn.rsplit(":", 1)[-1]
    fifo = {"group_id": group or "events", "deduplication_id": None} if queue.endswith(".fifo") else {}
    sqs_backends[ACCOUNT][REGION].send_message(
        queue_name=queue, message_body=text, message_attributes=attributes, **fifo
    )


def target_input(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """Return the input of a rule's target: the event, a constant, a part of the event, or a filled template."""
    if target.get("Input") is not None:
        return str(target["Input"])
    if target.get("InputPath") is not None:
        return json.dumps(_at(event, target["InputPath"]))
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    values = {name: _at(event, path) for name, path in transformer.get("InputPathsMap", {}).items()}
    template: str = transformer["InputTemplate"]

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name == "aws.events.event.json":
            return json.dumps(event)
        value = values.get(name, "")
        # Inside a string of the template a value is inserted as text, elsewhere as JSON.
        inside_string = template[: match.start()].replace('\\"', "").count('"') % 2 == 1
        if inside_string:
            return json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)
        return json.dumps(value)

    return _PLACEHOLDER.sub(fill, template)


def _at(event: Any, path: str) -> Any:
    """Return the value at a simple JSON path: `$`, `$.a.b`, `$.a[0]`."""
    value = event
    for part in re.findall(r"[^.\[\]$]+", path):
        if isinstance(value, list):
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value
