"""A running service with models in every state that somebody could try to take advantage of, and a client without scruples."""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from local.service import LocalService
from promotion import names
from promotion.aws.keys import KmsSigner
from promotion.domain.people import Person
from promotion.domain.request_ids import request_id
from promotion.links.session import Session
from promotion.links.sessions import Sessions
from promotion.links.tokens import Keyring
from tests.fakes import signed_in
from tests.local.people import artifact

CONFIG = Path(__file__).parent / "promotion.toml"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/inference:1"
BUCKET = "promotion-models"
T = TypeVar("T")
FORM = "application/x-www-form-urlencoded"


def person(subject: str, *groups: str) -> Person:
    return Person(subject=subject, name=subject.capitalize(), email=f"{subject}@example.com", groups=frozenset(groups))


ANN = person("ann", "ml-dev", "ml-test", "ml-uat")
BEN = person("ben", "ml-dev", "ml-test")
CHO = person("cho", "ml-uat")
DEE = person("dee", "ml-dev", "ml-oncall")
AUD = person("aud", "ml-auditors")
GIL = person("gil", "ml-oncall")
EVE = person("eve")


class Answer(Struct, frozen=True, kw_only=True):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Attacked:
    """The service under attack. `far` is when the sessions that tests make for themselves end: after any clock they move."""

    def __init__(self, service: LocalService) -> None:
        self.service = service
        self.far = datetime.now(UTC) + timedelta(days=400)
        self._sessions: dict[str, Session] = {}
        self._clients: dict[str, Any] = {}
        self.packages: dict[str, list[str]] = {}

    def aws(self, service: str) -> Any:
        """A client with the administrator's rights."""
        if service not in self._clients:
            self._clients[service] = self.service.session().client(service)
        return self._clients[service]

    def wait_for(self, condition: Callable[[], T]) -> T:
        """The first true value of `condition`."""
        return self.service.wait_for(condition)

    def mails(self, about: str, to: str | None = None) -> list[dict[str, Any]]:
        """Return the mails with `about` in the subject, as whole words: the name of one group may be the end of another's."""
        found = [mail for mail in self.service.mailbox() if f" {about}" in f" {mail['subject']}"]
        return [mail for mail in found if to is None or to in mail["to"]]

    # What only the service should know, read with the administrator's rights.

    @cached_property
    def keyring(self) -> Keyring:
        return Keyring(self.link_keys())

    @cached_property
    def form_keys(self) -> Keyring:
        return Keyring(self.keys("FORM_KEYS_SECRET_ARN"))

    @cached_property
    def sign_in_keys(self) -> Keyring:
        return Keyring(self.keys("SIGN_IN_KEYS_SECRET_ARN"))

    @cached_property
    def sessions(self) -> Sessions:
        """Sessions of any length, signed as `sign_in` has them signed."""
        key = KmsSigner(self.aws("kms"), self.setting("sign_in", "SESSION_KEY_ARN"))
        return Sessions(key.public_key_pem(), key.sign, longest=timedelta(days=4000))

    def setting(self, module: str, name: str) -> str:
        configuration = self.aws("lambda").get_function_configuration(FunctionName=self.function(module))
        return str(configuration["Environment"]["Variables"][name])

    def now(self) -> datetime:
        """The service's own time, which tests move."""
        with urllib.request.urlopen(f"{self.service.url}/_local/clock", timeout=60) as answer:
            return datetime.now(UTC) + timedelta(seconds=json.load(answer)["offset_seconds"])

    def link_keys(self) -> list[str]:
        return self.keys("LINK_KEYS_SECRET_ARN")

    def keys(self, name: str) -> list[str]:
        """The keys in the secret that a function is told by the variable `name`."""
        module = "sign_in" if name == "SIGN_IN_KEYS_SECRET_ARN" else "decide"
        found = self.aws("secretsmanager").get_secret_value(SecretId=self.setting(module, name))
        document = json.loads(found["SecretString"])
        return list(document.get("keys") or [document["key"]])

    @cached_property
    def link_secret(self) -> str:
        return self.setting("decide", "LINK_KEYS_SECRET_ARN")

    @cached_property
    def installation(self) -> dict[str, Any]:
        found = self.aws("ssm").get_parameter(Name="/promotion/_service")
        document: dict[str, Any] = json.loads(found["Parameter"]["Value"])
        return document

    def function(self, module: str) -> str:
        functions = self.aws("lambda").list_functions()["Functions"]
        return str(next(f["FunctionName"] for f in functions if f["Handler"] == f"lambdas.handlers.{module}.handler"))

    def invoke(self, module: str, event: Any) -> dict[str, Any]:
        """Return a function's answer to an event, invoked with the administrator's rights."""
        client = self.aws("lambda")
        answer = client.invoke(FunctionName=self.function(module), Payload=json.dumps(event).encode())
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, document
        return document

    # People.

    def session(self, who: Person) -> Session:
        """A session as signing in would make it, without the walk to the provider."""
        key = f"{who.subject} {sorted(who.groups)}"
        if key not in self._sessions:
            self._sessions[key] = Session(
                id=secrets.token_urlsafe(18), person=signed_in(who, self.far), expires_at=self.far
            )
        return self._sessions[key]

    def cookie(self, who: Person) -> str:
        return f"session={self.sessions.cookie(replace(self.session(who), expires_at=self.now() + timedelta(hours=1)))}"

    def csrf(self, who: Person) -> str:
        return self.form_keys.csrf_token(self.session(who))

    # Requests, as rude as they come.

    def send(
        self,
        method: str,
        path: str,
        *,
        who: Person | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | str = b"",
    ) -> Answer:
        """One request, its path and headers just as given; None as a value takes a header out."""
        body = body.encode() if isinstance(body, str) else body
        given: dict[str, str | None] = {"Host": self.service.url.removeprefix("http://"), "Accept": "text/html"}
        if who is not None:
            given["Cookie"] = self.cookie(who)
        if method == "POST":
            given |= {"Origin": self.service.url, "Content-Type": FORM}
        given |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.service.ports.http, timeout=300)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            named = {name.lower(): value for name, value in found.getheaders()}
            return Answer(status=found.status, headers=named, body=found.read())
        finally:
            connection.close()

    def post(
        self,
        path: str,
        who: Person | None,
        fields: Mapping[str, str] | None = None,
        *,
        csrf: str | None = "own",
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """A form; with the person's own form token unless told otherwise."""
        token = self.csrf(who) if csrf == "own" and who is not None else csrf
        given = {**(fields or {}), **({"csrf": token} if token is not None else {})}
        return self.send("POST", path, who=who, body=urlencode(given), headers=headers)

    def decide(self, asked: str, who: Person | None, verdict: str = "Approved", **more: Any) -> Answer:
        fields = {"verdict": verdict, "reason": "Because it is good.", **more.pop("fields", {})}
        return self.post(self.link(asked), who, fields, **more)

    def link(self, asked: str) -> str:
        return f"/approvals/{self.keyring.approval_token(asked)}"

    def read(self, path: str, who: Person = ANN) -> dict[str, Any]:
        return self.send("GET", path, who=who, headers={"Accept": "application/json"}).document

    # What must not change.

    def state(self, *groups: str) -> str:
        """Return a digest of an attack's targets: every head of the ledger, and the registry's entries of `groups`.

        Without any, the entries of all, and Parameter Store.
        """
        heads = self.settled()
        said = [sorted(json.dumps(head, sort_keys=True) for head in heads), self.registry(*(groups or self.packages))]
        return hashlib.sha256(json.dumps([said, [] if groups else self.parameters()]).encode()).hexdigest()

    def settled(self) -> list[dict[str, Any]]:
        """Every head of the ledger, once all that was recorded has come to every target: what lags is no attack's doing."""

        def found() -> list[dict[str, Any]] | None:
            dynamodb = self.aws("dynamodb")
            only = {"FilterExpression": "sk = :head", "ExpressionAttributeValues": {":head": {"S": "HEAD"}}}
            heads: list[dict[str, Any]] = dynamodb.scan(TableName=self.installation["ledger_table"], **only)["Items"]
            cursors = dynamodb.scan(TableName=self.installation["projections_table"])["Items"]
            come = {(item["pk"]["S"], item["sk"]["S"]): item["sequence"]["N"] for item in cursors}
            wanted = {(head["pk"]["S"], target): head["sequence"]["N"] for head in heads for target in names.TARGETS}
            return heads if wanted.items() <= come.items() else None

        heads = self.wait_for(found)
        assert heads is not None
        return heads

    def registry(self, *groups: str) -> list[Any]:
        found = []
        for arn in (arn for group in groups for arn in self.packages[group]):
            package = self.aws("sagemaker").describe_model_package(ModelPackageName=arn)
            said = [package.get("CustomerMetadataProperties"), package.get("ModelLifeCycle")]
            found.append([arn, package["ModelApprovalStatus"], *said])
        return found

    def parameters(self) -> list[Any]:
        pages = self.aws("ssm").get_paginator("describe_parameters").paginate()
        return sorted([p["Name"], p["Version"]] for page in pages for p in page["Parameters"])

    # Stories.

    def register(self, group: str, *, wait: bool = True, **extra: Any) -> str:
        """A package, registered as a data scientist would; its ARN, once its request is there."""
        key = f"{group}/model.tar.gz"
        if not extra.pop("without_artifact", False):
            self.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=artifact(group.encode()))
        client = self.aws("sagemaker")
        pages = client.get_paginator("list_model_package_groups").paginate()
        groups = {each["ModelPackageGroupName"] for page in pages for each in page["ModelPackageGroupSummaryList"]}
        if group not in groups:
            client.create_model_package_group(ModelPackageGroupName=group)
        given: dict[str, Any] = {
            "InferenceSpecification": {
                "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/{key}"}],
                "SupportedContentTypes": ["application/jsonlines"],
                "SupportedResponseMIMETypes": ["application/jsonlines"],
            },
            "ModelApprovalStatus": "PendingManualApproval",
            "CustomerMetadataProperties": {"requested_by": "dee@example.com"},
            **extra,
        }
        arn: str = client.create_model_package(ModelPackageGroupName=group, **given)["ModelPackageArn"]
        version = int(arn.rpartition("/")[2])
        self.packages.setdefault(group, []).append(arn)
        if wait:
            self.asked(request_id(group, version, "dev", 1))
        return arn

    def asked(self, request: str) -> str:
        """Waits until a request is there; returns its id."""
        self.wait_for(lambda: self.send("GET", self.link(request), who=ANN).status in (200, 410))
        return request

    def ran(self, group: str, version: int, environment: str, value: float, run_id: str = "run-1") -> None:
        """An inference run was recorded; what the function saw in S3 is told by its own tests."""
        evidence = {
            "source": "inference", "environment": environment, "run_id": run_id, "metrics": {"rougeL": {"value": value}}
        }  # fmt: skip
        arguments = {"group": group, "version": version, "evidence": evidence}
        answer = self.invoke("record", {"operation": "inference", "arguments": arguments})
        assert "receipt" in answer, answer

    def applied(self, request: str) -> None:
        """Waits until a decision is applied everywhere, mail included."""
        self.wait_for(lambda: all((self.read(self.link(request)).get("applied") or {"": False}).values()))

    def took(self, answer: Answer) -> None:
        assert answer.status == 303, answer.text

    def seed(self) -> None:
        """Models in every state."""
        took = self.took
        self.register("open")
        self.register("unknown-requester", CustomerMetadataProperties={})
        self.register("broken", without_artifact=True)
        self.register("decided")
        took(self.decide("decided:1:dev:1", ANN))
        self.register("rejected")
        took(self.decide("rejected:1:dev:1", ANN, "Rejected"))
        self.register("again")
        took(self.decide("again:1:dev:1", ANN, "Rejected"))
        took(self.post(f"{self.link('again:1:dev:1')}/again", ANN, {"reason": "More data."}))
        self.register("superseded")
        self.register("superseded")
        self.register("short-lived")
        self.register("two")
        took(self.decide("two:1:dev:1", ANN))
        self.register("two")
        took(self.decide("two:2:dev:1", ANN))
        self.register("revoked")
        took(self.decide("revoked:1:dev:1", ANN))
        took(self.post("/models/revoked/versions/1/revoke", ANN, {"reason": "Its data may not be used."}))
        for group, value in (("shut", 0.1), ("quorum", 0.9), ("frozen", 0.9)):
            self.register(group)
            took(self.decide(f"{group}:1:dev:1", ANN))
            self.ran(group, 1, "dev", value)
        took(self.decide("quorum:1:test:1", ANN))
        took(self.decide("frozen:1:test:1", BEN))
        self.ran("frozen", 1, "test", 0.9, run_id="run-2")
        self.service.advance_clock(45 * 60)
        # What is due is done now, rather than in the middle of an attack.
        self.invoke("sweep", {})
        self.settled()
