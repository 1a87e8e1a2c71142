"""Acts of people, operators and pipelines on a service, as their clients would do them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from unittest import mock
from urllib.parse import parse_qsl, urlencode

import boto3
import msgspec
from botocore.exceptions import ClientError, ReadTimeoutError

from promotion import names
from promotion.aws import caller_identity
from promotion.domain.people import Person
from promotion.links.session import Session
from tests.fakes import ANN, CHO, GROUP, OPERATOR, signed_in
from tests.faults.resources import EVIDENCE, IMAGE, MODELS, URL, client


class Killed(BaseException):
    """The process is gone. No handler's `except Exception` sees this, as none would."""


@contextmanager
def confirmed_as(arn: str) -> Iterator[None]:
    """STS says that whoever calls is `arn`: here nobody has keys to sign with."""
    with mock.patch.object(caller_identity, "confirm", return_value=arn):
        yield


class People:
    """People who act on a service; `asynchronous` has the events on their way to its functions."""

    asynchronous: list[tuple[str, dict[str, Any], int]]
    inside: bool
    settle: Callable[[], None]

    @contextmanager
    def without_faults(self) -> Iterator[None]:
        """Calls of the world outside: neither counted nor hit."""
        before, self.inside = self.inside, True
        try:
            yield
        finally:
            self.inside = before

    def register(
        self,
        number: int = 0,
        group: str = GROUP,
        *,
        tell: bool = True,
        rouge: float = 0.7,
        metrics: object = None,
        measured: str = "",
        **container: str,
    ) -> int:
        """A model is packed, put into S3 and registered, by an ordinary client."""
        with self.without_faults():
            sagemaker, s3 = client("sagemaker"), client("s3")
            number = number or (
                len(sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]) + 1
            )
            base = f"{group}/{number}"
            s3.put_object(Bucket=MODELS, Key=f"{base}/model.tar.gz", Body=_archive(number % 256))
            document = json.dumps({"rougeL": rouge} if metrics is None else metrics, ensure_ascii=False).encode()
            s3.put_object(Bucket=MODELS, Key=f"{base}/metrics.json", Body=document)
            place = measured or f"s3://{MODELS}/{base}/metrics.json"
            statistics = {"ContentType": "application/json", "S3Uri": place}
            sagemaker.create_model_package(
                ModelPackageGroupName=group,
                InferenceSpecification={
                    "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{MODELS}/{base}/model.tar.gz", **container}],
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
        from lambdas.handlers import decide
        from lambdas.shared.dependencies import form_keys, session_maker, sessions

        moment = datetime.now(UTC)
        session = Session(id="s", person=signed_in(by, moment), expires_at=moment + timedelta(hours=1))
        with self.without_faults():
            cookie, csrf = session_maker().cookie(session), form_keys().csrf_token(session)
            sessions()
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
            "cookies": [f"__Host-session={cookie}"],
            "requestContext": {"http": {"method": "POST", "path": path}, "stage": "$default"},
            "body": urlencode({**form, "csrf": csrf}),
            "isBase64Encoded": False,
        }
        try:
            return int(decide.handler(event, None)["statusCode"])
        except (Killed, ClientError, ReadTimeoutError):
            return 500

    def look(self, version: int, environment: str, by: Person = ANN) -> str:
        """A signed-in person opens the page of a version's request."""
        from lambdas.shared.dependencies import keyring, ledger

        with self.without_faults():
            state = ledger().view(GROUP).version(version)
            path = f"/approvals/{keyring().approval_token(state.requests[environment].id)}"
        return self.open(path, by)

    def open(self, path: str, by: Person = ANN, *, query: str = "", accept: str = "text/html") -> str:
        """A signed-in person opens a page."""
        from lambdas.handlers import web
        from lambdas.shared.dependencies import session_maker

        moment = datetime.now(UTC)
        session = Session(id="s", person=signed_in(by, moment), expires_at=moment + timedelta(hours=1))
        with self.without_faults():
            cookie = session_maker().cookie(session)
        event = {
            "version": "2.0", "routeKey": "", "rawPath": path, "rawQueryString": query, "isBase64Encoded": False,
            "headers": {"host": URL.removeprefix("https://"), "accept": accept},
            "cookies": [f"__Host-session={cookie}"],
            "queryStringParameters": dict(parse_qsl(query)),
            "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default"},
        }  # fmt: skip
        return str(web.handler(event, None)["body"])

    def decide(
        self, version: int, environment: str, by: Person = ANN, verdict: str = names.APPROVED, *, glass: bool = False
    ) -> int:
        """Votes; once more where the answer was an error, as a person would."""
        from lambdas.shared.dependencies import keyring, ledger

        with self.without_faults():
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
        from lambdas.shared.dependencies import keyring, ledger

        with self.without_faults():
            request = ledger().view(GROUP).version(version).requests[environment]
            token = keyring().approval_token(request.id)
        return self._insist(f"/approvals/{token}/again", {"reason": "The data was cleaned."})

    def adopt(self, version: int, environment: str) -> int:
        """By the command: an IAM principal, whom STS confirms; once more where the answer was an error."""
        from lambdas.shared.dependencies import ledger

        with self.without_faults():
            package = ledger().view(GROUP).version(version).package
        return self._operate({
            "operation": "adopt", "environment": environment, "reason": "It served before.",
            "package": msgspec.json.encode(package).decode(),
        })  # fmt: skip

    def ask(self, version: int) -> int:
        """By the command: an operator asks about a version that is older than the service."""
        given = {"operation": "ask", "group": GROUP, "version": str(version), "arn": self.arn(version)}
        return self._operate({**given, "reason": "It is good."})

    def _operate(self, form: dict[str, str]) -> int:
        from lambdas.handlers import operate

        event = {
            "version": "2.0", "rawPath": "/operations", "rawQueryString": "", "isBase64Encoded": False,
            "headers": {"host": URL.removeprefix("https://"), "content-type": "application/json"},
            "requestContext": {"http": {"method": "POST", "path": "/operations"}, "stage": "$default"},
            "body": json.dumps(form),
        }  # fmt: skip
        for _ in range(2):
            with suppress(Killed, ClientError, ReadTimeoutError), confirmed_as(OPERATOR.subject):
                status = int(operate.handler(event, None)["statusCode"])
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

    def measure(self, version: int, environment: str, rouge: float = 0.7, *, drift: float = 0.0) -> None:
        """An inference run ends, and its pipeline tells."""
        run = f"{environment}-{version}"
        document = {
            "metrics": {"rougeL": {"value": rouge, "n": 60}},
            "model_package_group": GROUP,
            "model_package_version": version,
            "environment": environment,
            **({"drift": {"length_psi": drift}, "counts": {"records": 60}} if drift else {}),
        }
        key = f"{GROUP}/{environment}/{run}/score/metrics.json"
        with self.without_faults():
            boto3.client("s3").put_object(Bucket=EVIDENCE, Key=key, Body=json.dumps(document).encode())
        detail = {
            "model_package_group": GROUP, "model_package_version": version, "environment": environment, "run_id": run,
            "status": "Completed", "metrics_uri": f"s3://{EVIDENCE}/{key}",
        }  # fmt: skip
        self.asynchronous.append(("on_inference_completed", {"detail": detail}, 0))

    def flip(self, version: int, status: Literal["Approved", "PendingManualApproval", "Rejected"]) -> None:
        """Somebody sets an approval status in Studio."""
        with self.without_faults():
            boto3.client("sagemaker").update_model_package(
                ModelPackageArn=self.arn(version), ModelApprovalStatus=status
            )

    def arn(self, version: int) -> str:
        return f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"

    def promote(self, version: int, to: str) -> None:
        """Unharmed, a registered version goes live in every environment up to `to`."""
        for name, quorum in (("dev", 1), ("test", 1), ("prod", 2)):
            for person in (ANN, CHO)[:quorum]:
                assert self.decide(version, name, person) == 303
            self.settle()
            if name == to:
                return
            self.measure(version, name)
            self.settle()


def _archive(number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("model.safetensors")
        info.size = 100
        archive.addfile(info, io.BytesIO(bytes([number]) * 100))
    return out.getvalue()
