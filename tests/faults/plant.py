"""The whole service in one process: the functions as they are deployed, on a mended moto, with what AWS does between them done
here: streams, queues, rules, retries. A call to AWS can be made to fail at a chosen point; everything lost is then redelivered.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import boto3
import botocore.client
import msgspec
import time_machine
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from moto.sagemaker.models import sagemaker_backends

from inference import hashing, storage
from lambdas import world
from local import mends
from local.mends import sagemaker as registry_mend
from promotion import names
from promotion.links import Session
from promotion.model import Person
from tests.fakes import ANN, CONFIG_TEXT, GROUP, OPERATOR

Mode = Literal["killed before", "killed after", "throttled", "answer lost"]
MODES: tuple[Mode, ...] = ("killed before", "killed after", "throttled", "answer lost")
URL = "https://promotion.example.com"
MODELS, EVIDENCE, ANCHORS = "promotion-models", "evidence", "anchors"
WAKE, DEAD = "https://sqs/wake.fifo", "https://sqs/dead.fifo"
BEGINNING = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
MOST_RECEIVES = 5
ASYNC_TRIES = 3
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


class Killed(BaseException):
    """The process is gone. No handler's `except Exception` sees this, as none would."""


@dataclass
class Message:
    body: str
    group: str
    deduplication: str
    receives: int = 0


@dataclass
class Fault:
    """What happens to the call number `at`, counted from when it is armed."""

    at: int
    mode: Mode
    seen: int = 0
    hit: str = ""


@dataclass
class Plant:
    """What is on its way: events for functions, stream records, messages; and what went out."""

    asynchronous: list[tuple[str, dict[str, Any], int]] = field(default_factory=list)
    stream: list[dict[str, Any]] = field(default_factory=list)
    wake: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    undelivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fault: Fault | None = None
    poison: Callable[[str, dict[str, Any]], bool] | None = None
    failing_jobs: int = 0
    slow_jobs: bool = False
    jobs: list[dict[str, Any]] = field(default_factory=list)
    deduplicated: set[str] = field(default_factory=set)
    inside: bool = False
    carried: int = 0
    redriven: int = 0

    # --- what people and pipelines do

    def register(self, number: int = 0, group: str = GROUP, *, tell: bool = True, rouge: float = 0.7) -> int:
        """A model is packed, put into S3 and registered, by an ordinary client."""
        with self.unharmed():
            sagemaker, s3 = _client("sagemaker"), _client("s3")
            number = number or (
                len(sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]) + 1
            )
            base = f"{group}/{number}"
            s3.put_object(Bucket=MODELS, Key=f"{base}/model.tar.gz", Body=_archive(number % 256))
            metrics = json.dumps({"rougeL": rouge}).encode()
            s3.put_object(Bucket=MODELS, Key=f"{base}/metrics.json", Body=metrics)
            statistics = {"ContentType": "application/json", "S3Uri": f"s3://{MODELS}/{base}/metrics.json"}
            sagemaker.create_model_package(
                ModelPackageGroupName=group,
                InferenceSpecification={
                    "Containers": [{"Image": "hf:1", "ModelDataUrl": f"s3://{MODELS}/{base}/model.tar.gz"}],
                    "SupportedContentTypes": ["application/jsonlines"],
                    "SupportedResponseMIMETypes": ["application/jsonlines"],
                },
                CustomerMetadataProperties={"requested_by": "dee"},
                ModelMetrics={"ModelQuality": {"Statistics": statistics}},
            )
            if not tell:
                self.asynchronous.pop()
        return number

    def post(self, path: str, form: dict[str, str], by: Person = ANN) -> int:
        """A signed-in person sends a form; the status of the answer, 500 where the function died."""
        from lambdas import decide
        from lambdas.world import keyring

        with self.unharmed():
            ring = keyring()
        session = Session(id="s", person=by, expires_at=datetime.now(UTC) + timedelta(hours=1))
        event = {
            "version": "2.0",
            "routeKey": "",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {
                "host": URL.removeprefix("https://"),
                "origin": URL,
                "content-type": "application/x-www-form-urlencoded",
            },
            "cookies": [f"__Host-session={ring.session_cookie(session)}"],
            "requestContext": {"http": {"method": "POST", "path": path}, "stage": "$default"},
            "body": urlencode({**form, "csrf": ring.csrf_token(session)}),
            "isBase64Encoded": False,
        }
        try:
            return int(decide.handler(event, None)["statusCode"])
        except (Killed, ClientError, ReadTimeoutError):
            return 500

    def decide(
        self, version: int, environment: str, by: Person = ANN, verdict: str = names.APPROVED, *, glass: bool = False
    ) -> int:
        """Votes; once more where the answer was an error, as a person would."""
        from lambdas.world import keyring, ledger

        with self.unharmed():
            state = ledger().view(GROUP).version(version)
            token = keyring().approval_token(state.requests[environment].id)
        form = {"verdict": verdict, "reason": "Good on every slice.", **({"break_glass": "yes"} if glass else {})}
        return self._insist(f"/approvals/{token}", form, by)

    def roll_back(self, environment: str, *, to: int) -> int:
        return self._insist(
            f"/models/{GROUP}/{environment}/rollback", {"to_version": str(to), "reason": "It stutters."}
        )

    def revoke(self, version: int) -> int:
        return self._insist(f"/models/{GROUP}/versions/{version}/revoke", {"reason": "Its data may not be used."})

    def ask_again(self, version: int, environment: str) -> int:
        from lambdas.world import keyring, ledger

        with self.unharmed():
            request = ledger().view(GROUP).version(version).requests[environment]
            token = keyring().approval_token(request.id)
        return self._insist(f"/approvals/{token}/again", {"reason": "The data was cleaned."})

    def adopt(self, version: int, environment: str) -> int:
        """By the command: an IAM principal, named by API Gateway; once more where the answer was an error."""
        from lambdas import decide
        from lambdas.world import ledger

        with self.unharmed():
            package = ledger().view(GROUP).version(version).package
        form = {
            "operation": "adopt", "environment": environment, "reason": "It served before.",
            "package": msgspec.json.encode(package).decode(),
        }  # fmt: skip
        event = {
            "version": "2.0", "rawPath": "/operations", "rawQueryString": "", "isBase64Encoded": False,
            "headers": {"host": URL.removeprefix("https://"), "content-type": "application/json"},
            "requestContext": {
                "http": {"method": "POST", "path": "/operations"}, "stage": "$default",
                "authorizer": {"iam": {"userArn": OPERATOR.subject}},
            },
            "body": json.dumps(form),
        }  # fmt: skip
        for _ in range(2):
            with suppress(Killed, ClientError, ReadTimeoutError):
                status = int(decide.handler(event, None)["statusCode"])
                if status < 500:
                    return status
        return 500

    def fail(self, version: int, environment: str, problem: str, *, broken: bool) -> None:
        """An inference run ends before it begins, and its machine tells."""
        detail = {
            "environment": environment, "run_id": f"{environment}-{version}", "status": "Failed",
            "request": {"group": GROUP},
            "error": {"Error": "IntegrityError" if broken else "States.TaskFailed", "Cause": problem},
        }  # fmt: skip
        self.asynchronous.append(("on_inference_completed", {"detail": detail}, 0))

    def _insist(self, path: str, form: dict[str, str], by: Person = ANN) -> int:
        status = self.post(path, form, by)
        return status if status < 500 else self.post(path, form, by)

    def measure(self, version: int, environment: str, rouge: float = 0.7) -> None:
        """An inference run ends, and its pipeline tells."""
        run = f"{environment}-{version}"
        document = {
            "metrics": {"rougeL": {"value": rouge, "n": 60}},
            "model_package_group": GROUP,
            "model_package_version": version,
            "environment": environment,
        }
        key = f"{GROUP}/{environment}/{run}/score/metrics.json"
        with self.unharmed():
            boto3.client("s3").put_object(Bucket=EVIDENCE, Key=key, Body=json.dumps(document).encode())
        detail = {
            "model_package_group": GROUP, "model_package_version": version, "environment": environment, "run_id": run,
            "status": "Completed", "metrics_uri": f"s3://{EVIDENCE}/{key}",
        }  # fmt: skip
        self.asynchronous.append(("on_inference_completed", {"detail": detail}, 0))

    def flip(self, version: int, status: str) -> None:
        """Somebody sets an approval status in Studio."""
        with self.unharmed():
            boto3.client("sagemaker").update_model_package(
                ModelPackageArn=self.arn(version), ModelApprovalStatus=status
            )

    def arn(self, version: int) -> str:
        return f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"

    def climb(self, version: int, to: str) -> None:
        """Unharmed, a registered version goes live in every environment up to `to`."""
        from tests.fakes import CHO

        for name, quorum in (("dev", 1), ("test", 1), ("prod", 2)):
            for person in (ANN, CHO)[:quorum]:
                assert self.decide(version, name, person) == 303
            self.settle()
            if name == to:
                return
            self.measure(version, name)
            self.settle()

    # --- what AWS does

    def settle(self, *, most: int = 500, between: Callable[[], None] = lambda: None) -> None:
        """Deliver until nothing is on its way any more, in the order in which it came."""
        for _ in range(most):
            if self.asynchronous:
                self._deliver_event()
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
        """What `promotion redrive` does: wake what was set aside or is behind, deliver what could not be."""
        from lambdas.on_projection_due import cursors_table
        from lambdas.world import ledger

        with self.unharmed():
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

    def _deliver_event(self) -> None:
        module, event, tries = self.asynchronous.pop(0)
        try:
            _function(module)(event, None)
        except (Killed, Exception):  # noqa: BLE001 - as Lambda does
            if tries + 1 < ASYNC_TRIES:
                self.asynchronous.append((module, event, tries + 1))
            else:
                self.undelivered.append((module, event))

    def _deliver_stream(self) -> None:
        records = self.stream[:100]
        try:
            failed = _function("on_ledger_appended")({"Records": records}, None)["batchItemFailures"]
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
            failed = _function("on_projection_due")({"Records": [record]}, None)["batchItemFailures"]
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
        if self.poison is not None and self.poison(name, given):
            raise _error("InternalFailure", operation)
        fault = self._due(name)
        if fault == "killed before":
            raise Killed(name)
        if fault == "throttled":
            raise _error("ThrottlingException", operation)
        answer = self._effect(client, service, operation, given, original)
        self.carried += len(repr(given)) + len(repr({k: v for k, v in answer.items() if k != "ResponseMetadata"}))
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
                self.published += given["Entries"]
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
            payload = json.dumps(_function(module)(event, None), default=str)
        except (Killed, ClientError, ReadTimeoutError) as error:
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
                job.processing_job_status, job.failure_reason = (
                    "Failed",
                    "InternalServerError: We encountered an error.",
                )
            else:
                arguments = given["AppSpecification"]["ContainerArguments"]
                options = dict(zip(arguments[::2], arguments[1::2], strict=True))
                with self.unharmed():
                    hashing.command(
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
        identity = given["QueueUrl"] + given["MessageDeduplicationId"]
        if identity not in self.deduplicated:
            self.deduplicated.add(identity)
            queue = self.wake if given["QueueUrl"] == WAKE else self.dead
            queue.append(Message(given["MessageBody"], given["MessageGroupId"], identity))
        return {"MessageId": "m"}

    def _streamed(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            put = item["Put"]["Item"]
            if put["sk"] == {"S": "HEAD"}:
                number = f"{len(self.calls) + len(self.stream):021d}"
                keys = {"pk": put["pk"], "sk": put["sk"]}
                self.stream.append({"dynamodb": {"Keys": keys, "NewImage": put, "SequenceNumber": number}})

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Calls of the world outside: neither counted nor hit."""
        before, self.inside = self.inside, True
        try:
            yield
        finally:
            self.inside = before

    # --- what must hold afterwards

    def story(self) -> list[tuple[str, int | None, str | None]]:
        """What happened, in order, as the ledger has it."""
        from lambdas.world import ledger

        with self.unharmed():
            return [(event.kind, event.version, event.environment) for event in ledger().events(GROUP)]

    def differences(self) -> list[str]:
        from lambdas import verify
        from promotion.aws.checking import check

        with self.unharmed():
            return [each.difference.line for _, found in check(verify.installation()) for each in found]

    def doubled_mails(self) -> list[str]:
        return [message for message, count in Counter(self.mails).items() if count > 1]


@contextmanager
def plant(folder: Path, *, hash_up_to_gb: float = 10.0) -> Iterator[Plant]:
    """A fresh service, deployed and empty; with `hash_up_to_gb` at 0, every artifact is one for a job."""
    mends.apply()
    world.logger.setLevel("CRITICAL")
    made = Plant()
    original = botocore.client.BaseClient._make_api_call

    def call(client: Any, operation: str, given: dict[str, Any]) -> Any:
        return made.call(client, operation, given, original)

    (folder / names.CONFIG_FILE).write_text(
        f'{CONFIG_TEXT}\n[artifacts]\nbuckets = ["{MODELS}"]\nhash_in_function_up_to_gb = {hash_up_to_gb}\n'
        f'[inference]\nbucket = "{MODELS}"\n',
        encoding="utf-8",
    )
    listener = _tells(made)
    with time_machine.travel(BEGINNING, tick=True), mock_aws(), _patched(call), settings(folder) as environment:
        registry_mend.listeners.append(listener)
        try:
            with made.unharmed():
                deploy(environment)
            yield made
        finally:
            registry_mend.listeners.remove(listener)
            forget()


@contextmanager
def _patched(call: Callable[..., Any]) -> Iterator[None]:
    original = botocore.client.BaseClient._make_api_call
    botocore.client.BaseClient._make_api_call = call
    try:
        yield
    finally:
        botocore.client.BaseClient._make_api_call = original


@contextmanager
def settings(folder: Path) -> Iterator[dict[str, str]]:
    import os

    wanted = {
        names.CONFIG: names.CONFIG_FILE,
        "LAMBDA_TASK_ROOT": str(folder),
        names.PREFIX: names.DEFAULT_PREFIX,
        names.LEDGER_TABLE: "ledger",
        names.PROJECTIONS_TABLE: "projections",
        names.EVENT_BUS_NAME: "promotion",
        names.PUBLIC_URL: URL,
        names.WAKE_QUEUE_URL: WAKE,
        names.DEAD_LETTER_QUEUE_URL: DEAD,
        names.ALARM_TOPIC_ARN: "arn:aws:sns:us-east-1:123456789012:alarms",
        names.REGISTRY_ROLE_ARN: "arn:aws:iam::123456789012:role/registry",
        names.DECIDE_FUNCTION: "decide",
        names.REGISTERED_FUNCTION: "on_model_registered",
        names.EVIDENCE_BUCKET: EVIDENCE,
        names.HASHING_ROLE_ARN: "arn:aws:iam::123456789012:role/hashing",
        names.HASHING_IMAGE: "inference:1",
        names.ANCHOR_BUCKET: ANCHORS,
        names.SIGNING_KEY_ARN: "",
        names.LINK_KEYS_SECRET_ARN: "",
        names.IDENTITY_SECRET_ARN: "",
        "POWERTOOLS_SERVICE_NAME": "promotion",
        "POWERTOOLS_METRICS_NAMESPACE": "Promotion",
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield wanted
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def deploy(environment: dict[str, str]) -> None:
    import os

    text = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "board_pk", "board_sk")]
    key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    board = [{"AttributeName": "board_pk", "KeyType": "HASH"}, {"AttributeName": "board_sk", "KeyType": "RANGE"}]
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="ledger", AttributeDefinitions=text, KeySchema=key, BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[{"IndexName": "board", "KeySchema": board, "Projection": {"ProjectionType": "ALL"}}],
    )  # fmt: skip
    dynamodb.create_table(
        TableName="projections", AttributeDefinitions=text[:2], KeySchema=key, BillingMode="PAY_PER_REQUEST"
    )
    for bucket in (MODELS, EVIDENCE, ANCHORS):
        boto3.client("s3").create_bucket(Bucket=bucket)
    boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=GROUP)
    kms = boto3.client("kms")
    os.environ[names.SIGNING_KEY_ARN] = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"][
        "Arn"
    ]
    secret = boto3.client("secretsmanager").create_secret(Name="links", SecretString=json.dumps({"key": "k" * 40}))
    os.environ[names.LINK_KEYS_SECRET_ARN] = secret["ARN"]


def forget() -> None:
    """What a new process wouldn't know."""
    from lambdas import on_projection_due, verify

    for module in (world, on_projection_due, verify):
        for found in vars(module).values():
            if hasattr(found, "cache_clear"):
                found.cache_clear()
    on_projection_due._sessions.clear()
    storage.client.cache_clear()


def _function(module: str) -> Callable[[dict[str, Any], Any], Any]:
    import importlib

    handler: Callable[[dict[str, Any], Any], Any] = importlib.import_module(f"lambdas.{module}").handler
    return handler


def _tells(made: Plant) -> Callable[[Any], None]:
    def tell(package: Any) -> None:
        detail = json.loads(json.dumps(registry_mend.state_change(package), default=str))
        pending = detail["ModelApprovalStatus"] == names.PENDING
        made.asynchronous.append(("on_model_registered" if pending else "on_approval_changed", {"detail": detail}, 0))

    return tell


@cache
def _client(service: str) -> Any:
    return boto3.client(service)


def _archive(number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("model.safetensors")
        info.size = 100
        archive.addfile(info, io.BytesIO(bytes([number]) * 100))
    return out.getvalue()


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "made to fail"}}, operation)
