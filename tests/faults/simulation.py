"""The whole service in one process: the functions as deployed, on patched moto; streams, queues, rules and retries of AWS
are simulated. A call to AWS can be made to fail at a chosen point; everything lost is then redelivered.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.client
import time_machine
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from inference.batch import hash_command
from lambdas.shared import dependencies
from local import moto_patches
from local.moto_patches import sagemaker as registry_mend
from promotion import names
from promotion.errors import Conflict
from tests.fakes import CONFIG_TEXT, GROUP
from tests.faults.fault import Fault, Message, Mode, from_queue, made_to_fail
from tests.faults.people import Killed, People
from tests.faults.resources import (
    ANCHORS,
    DEAD,
    LATER,
    MODELS,
    REGISTRATIONS,
    RETRAINING,
    VERIFICATIONS,
    WAKE,
    client,
    deploy,
    forget,
    settings,
)

# Whoever measures a function puts a watch in its place, here.
from tests.faults.resources import function as function

# boto3's stubs leave out what is private.
_CLIENT: Any = botocore.client.BaseClient

BEGINNING = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MOST_RECEIVES = 5
ASYNC_TRIES = 3
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass
class Simulation(People):
    """The simulated service: its queued events, stream records and messages, and its output."""

    asynchronous: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)
    stream: list[dict[str, Any]] = field(default_factory=list)
    wake: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    later: list[tuple[datetime, str]] = field(default_factory=list)
    undelivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fault: Fault | None = None
    fails_if: Callable[[str, dict[str, Any]], bool] | None = None
    # Called with each call that AWS has done; may raise.
    after: Callable[[str, dict[str, Any]], object] | None = None
    failing_jobs: int = 0
    slow_jobs: bool = False
    jobs: list[dict[str, Any]] = field(default_factory=list)
    deduplicated: set[str] = field(default_factory=set)
    inside: bool = False
    carried: int = 0
    redriven: int = 0

    # --- what AWS does

    def settle(self, *, most: int = 500, between: Callable[[], None] = lambda: None) -> None:
        """Deliver until nothing is on its way any more, in the order in which it came."""
        for _ in range(most):
            if self.asynchronous:
                self.deliver_event()
            elif self.stream:
                self._deliver_stream()
            elif self.wake:
                self._deliver_message()
            else:
                return
            between()
        raise AssertionError("it never settles")

    def sweep(self) -> None:
        """The schedule comes round."""
        self.asynchronous.append(("sweep", {}, 0))
        self.settle()

    def redrive(self, *, most: int = 500, between: Callable[[], None] = lambda: None) -> None:
        """Do as `promotion redrive`: wake groups set aside or behind, deliver undelivered events."""
        from lambdas.handlers.on_projection_due import cursors_table
        from lambdas.shared.dependencies import ledger

        with self.without_faults():
            behind = {
                group
                for group in ledger().groups()
                if any(cursors_table().read(group).get(t, 0) < ledger().head(group).sequence for t in names.TARGETS)
            }
        groups = behind | {json.loads(message.body)["group"] for message in self.dead}
        self.dead.clear()
        for group in sorted(groups):
            self.redriven += 1
            self.wake.append(Message(json.dumps({"group": group}), group, f"redrive-{self.redriven}"))
        self.asynchronous += [(module, event, 0) for module, event in self.undelivered]
        self.undelivered.clear()
        self.settle(most=most, between=between)

    def deliver_event(self) -> None:
        module, event, tries = self.asynchronous.pop(0)
        queued = module == "on_model_registered"
        try:
            function(module)(from_queue(event, tries) if queued else event, None)
        except (Killed, Exception):  # noqa: BLE001 - as Lambda does
            if tries + 1 < (MOST_RECEIVES if queued else ASYNC_TRIES):
                self.asynchronous.append((module, event, tries + 1))
            else:
                self.undelivered.append((module, event))

    def deliver_later(self) -> None:
        """The delayed queue delivers what is due by now, and again what its function died of."""
        due = [each for each in self.later if each[0] <= datetime.now(UTC)]
        for number, (at, body) in enumerate(due):
            record = {"messageId": f"later-{at.isoformat()}-{number}", "body": body}
            for _ in range(MOST_RECEIVES):
                try:
                    failed = function("on_ledger_appended")({"Records": [record]}, None)["batchItemFailures"]
                except Killed:
                    continue
                if not failed:
                    break
            self.later.remove((at, body))
        self.settle()

    def _deliver_stream(self) -> None:
        records = self.stream[:100]
        try:
            failed = function("on_ledger_appended")({"Records": records}, None)["batchItemFailures"]
        except Killed:
            return
        first = failed[0]["itemIdentifier"] if failed else None
        done = [r["dynamodb"]["SequenceNumber"] for r in records]
        del self.stream[: done.index(first) if first else len(records)]

    def _deliver_message(self) -> None:
        message = self.wake.pop(0)
        message.receives += 1
        if message.receives > MOST_RECEIVES:
            self.dead.append(message)
            return
        record = {
            "messageId": message.deduplication, "receiptHandle": "r", "body": message.body,
            "attributes": {"ApproximateReceiveCount": str(message.receives)},
        }  # fmt: skip
        try:
            failed = function("on_projection_due")({"Records": [record]}, None)["batchItemFailures"]
        except (Killed, Exception):  # noqa: BLE001 - as the queue does
            failed = [record]
        if failed:
            # Nothing of its group overtakes it; other groups do, while it waits.
            others = [index for index, each in enumerate(self.wake) if each.group == message.group]
            self.wake.insert(others[0] if others else len(self.wake), message)

    # --- every call of every client comes through here

    def call(self, client: Any, operation: str, given: dict[str, Any], original: Callable[..., Any]) -> Any:
        service = client.meta.service_model.service_name
        name = f"{service}:{operation}"
        if self.inside:
            return self._effect(client, service, operation, given, original)
        self.calls.append(name)
        if self.fails_if is not None and self.fails_if(name, given):
            raise made_to_fail("InternalFailure", operation)
        fault = self._due(name)
        if fault == "killed before":
            raise Killed(name)
        if fault == "throttled":
            raise made_to_fail("ThrottlingException", operation)
        answer = self._effect(client, service, operation, given, original)
        self.carried += len(repr(given)) + len(repr({k: v for k, v in answer.items() if k != "ResponseMetadata"}))
        if self.after is not None:
            self.after(name, given)
        if fault == "killed after":
            raise Killed(name)
        if fault == "answer lost":
            raise ReadTimeoutError(endpoint_url=name)
        return answer

    def _due(self, name: str) -> Mode | None:
        fault = self.fault
        if fault is None or fault.hit:
            return None
        fault.seen += 1
        if fault.seen <= fault.at:
            return None
        fault.hit = name
        return fault.mode

    def _effect(self, client: Any, service: str, operation: str, given: dict[str, Any], original: Any) -> Any:
        match service, operation:
            case "lambda", "Invoke":
                return self._invoke(given)
            case "sqs", "SendMessage":
                return self._send(given)
            case "sns", "Publish":
                self.alarms.append(given["Subject"])
                return {"MessageId": "sns"}
            case "sqs", "ChangeMessageVisibility":
                return {}
            case "sqs", "ReceiveMessage":
                queue = self.dead if given["QueueUrl"] == DEAD else self.wake
                return {"Messages": [{"Body": each.body, "ReceiptHandle": each.deduplication} for each in queue[:10]]}
            case "sqs", "DeleteMessage":
                self.dead = [each for each in self.dead if each.deduplication != given["ReceiptHandle"]]
                return {}
            case "sesv2", "SendEmail":
                found = _MESSAGE_ID.search(given["Content"]["Raw"]["Data"])
                assert found is not None
                self.mails.append(found[1].decode())
                return {"MessageId": "ses"}
            case "events", "PutEvents":
                self._publish(given["Entries"])
                return {"FailedEntryCount": 0, "Entries": [{} for _ in given["Entries"]]}
            case "sagemaker", "CreateProcessingJob":
                answer = original(client, operation, given)
                self._job(given["ProcessingJobName"]).processing_job_status = "InProgress"
                self.jobs.append(given)
                if not self.slow_jobs:
                    self.end_jobs()
                return answer
            case _:
                answer = original(client, operation, given)
                if operation == "TransactWriteItems":
                    self._streamed(given["TransactItems"])
                return answer

    def _invoke(self, given: dict[str, Any]) -> dict[str, Any]:
        module, event = given["FunctionName"], json.loads(given["Payload"])
        if given.get("InvocationType") == "Event":
            self.asynchronous.append((module, event, 0))
            return {"StatusCode": 202}
        try:
            payload = json.dumps(function(module)(event, None), default=str)
        except (Killed, Conflict, ClientError, ReadTimeoutError) as error:
            said = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)})
            return {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": io.BytesIO(said.encode())}
        return {"StatusCode": 200, "Payload": io.BytesIO(payload.encode())}

    def end_jobs(self, *, tell: bool = True) -> None:
        """Jobs that hash run to their end, with rights of their own; EventBridge tells, unless it doesn't."""
        while self.jobs:
            given = self.jobs.pop(0)
            job = self._job(given["ProcessingJobName"])
            if self.failing_jobs:
                self.failing_jobs -= 1
                job.processing_job_status = "Failed"
                job.failure_reason = "InternalServerError: We encountered an error."
            else:
                arguments = given["AppSpecification"]["ContainerArguments"]
                options = dict(zip(arguments[::2], arguments[1::2], strict=True))
                with self.without_faults():
                    hash_command.command(
                        argparse.Namespace(artifact=None, plan=options["--plan"], output=options["--output"])
                    )
                job.processing_job_status = "Completed"
            detail = {"ProcessingJobName": job.processing_job_name, "ProcessingJobStatus": job.processing_job_status}
            event = {"detail-type": names.PROCESSING_STATE_CHANGE, "detail": detail}
            self.asynchronous += [("on_model_registered", event, 0)] if tell else []

    @staticmethod
    def _job(name: str) -> Any:
        return sagemaker_backends["123456789012"]["us-east-1"].processing_jobs[name]

    def _send(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["QueueUrl"] == VERIFICATIONS:
            self.asynchronous.append(("verify", {"Records": [{"body": given["MessageBody"]}]}, 0))
            return {"MessageId": "m"}
        if given["QueueUrl"] == REGISTRATIONS:
            self.asynchronous.append(("on_model_registered", json.loads(given["MessageBody"]), 0))
            return {"MessageId": "m"}
        if given["QueueUrl"] == LATER:
            self.later.append((datetime.now(UTC) + timedelta(seconds=given["DelaySeconds"]), given["MessageBody"]))
            return {"MessageId": "m"}
        identity = given["QueueUrl"] + given["MessageDeduplicationId"]
        if identity not in self.deduplicated:
            self.deduplicated.add(identity)
            queue = self.wake if given["QueueUrl"] == WAKE else self.dead
            queue.append(Message(given["MessageBody"], given["MessageGroupId"], identity))
        return {"MessageId": "m"}

    def _publish(self, entries: list[dict[str, Any]]) -> None:
        """Onto the bus, whose rule about drift that calls for a retraining starts a function."""
        self.published += entries
        for entry in entries:
            detail = json.loads(entry["Detail"])
            if entry["DetailType"] == names.DRIFT_DETECTED and "retraining" in detail:
                self.asynchronous.append(("on_drift_detected", {"detail": detail}, 0))

    def _streamed(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            put = item["Put"]["Item"]
            if put["sk"] == {"S": "HEAD"}:
                number = f"{len(self.calls) + len(self.stream):021d}"
                keys = {"pk": put["pk"], "sk": put["sk"]}
                self.stream.append({"dynamodb": {"Keys": keys, "NewImage": put, "SequenceNumber": number}})

    # --- what must hold afterwards

    def story(self) -> list[tuple[str, int | None, str | None]]:
        """Return the events of the ledger in order."""
        from lambdas.shared.dependencies import ledger

        with self.without_faults():
            return [(event.kind, event.version, event.environment) for event in ledger().events(GROUP)]

    def differences(self) -> list[str]:
        from lambdas.handlers import verify
        from promotion.aws.ledger_table.checking import check

        with self.without_faults():
            return [each.difference.line for _, found in check(verify.installation()) for each in found]

    def outside(self) -> dict[str, int]:
        """Return the jobs and objects outside of the ledger."""
        with self.without_faults():
            executions = client("sagemaker").list_pipeline_executions(PipelineName=RETRAINING.rpartition("/")[2])
            # Not checkpoints: a verification that looks again keeps another one.
            anchors = client("s3").list_objects_v2(Bucket=ANCHORS, Prefix="heads/").get("Contents", [])
        return {"retrainings": len(executions["PipelineExecutionSummaries"]), "anchors": len(anchors)}

    def doubled_mails(self) -> list[str]:
        return [message for message, count in Counter(self.mails).items() if count > 1]


@contextmanager
def simulation(folder: Path, *, hash_up_to_gb: float = 10.0, settle: str = "0s") -> Iterator[Simulation]:
    """A fresh service, deployed and empty; with `hash_up_to_gb` at 0, every artifact is one for a job."""
    moto_patches.apply()
    dependencies.logger.setLevel("CRITICAL")
    made = Simulation()
    original = _CLIENT._make_api_call

    def call(client: Any, operation: str, given: dict[str, Any]) -> Any:
        return made.call(client, operation, given, original)

    config = f'{CONFIG_TEXT}\n[advanced.mail]\nsettle = "{settle}"\n'
    (folder / names.CONFIG_FILE).write_text(
        f'{config}\n[artifacts]\nbuckets = ["{MODELS}"]\n[advanced.artifacts]\nhash_in_function_up_to_gb = {hash_up_to_gb}\n'
        f'[inference]\nbucket = "{MODELS}"\n[advanced.drift]\nenvironments = ["dev"]\n'
        f'[advanced.drift.retraining."*"]\npipeline = "{RETRAINING}"\n',
        encoding="utf-8",
    )
    listener = _tells(made)
    with time_machine.travel(BEGINNING, tick=True), mock_aws(), _patched(call), settings(folder) as environment:
        registry_mend.listeners.append(listener)
        try:
            with made.without_faults():
                deploy(environment)
            yield made
        finally:
            registry_mend.listeners.remove(listener)
            forget()


@contextmanager
def _patched(call: Callable[..., Any]) -> Iterator[None]:
    original = _CLIENT._make_api_call
    _CLIENT._make_api_call = call
    try:
        yield
    finally:
        _CLIENT._make_api_call = original


def _tells(made: Simulation) -> Callable[[Any], None]:
    def tell(package: Any) -> None:
        detail = json.loads(json.dumps(registry_mend.state_change(package), default=str))
        pending = detail["ModelApprovalStatus"] == names.PENDING
        made.asynchronous.append(("on_model_registered" if pending else "on_approval_changed", {"detail": detail}, 0))

    return tell
