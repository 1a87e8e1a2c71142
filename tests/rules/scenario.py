"""A scenario of one model: the real rules and workflows over a ledger in memory, at a time that the test sets."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from promotion.config.loading import Config, parse
from promotion.domain.model import Container, EnvironmentState, Evidence, Metric, Package, VersionState
from promotion.domain.people import Actor, Person, Requester
from promotion.domain.request_ids import request_id
from promotion.ledger.append import Context
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import Event, NewEvent, chained
from promotion.ledger.fold import evolve, refolded
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.tokens import Keyring
from promotion.links.urls import Links
from promotion.rendering import pages
from promotion.rendering.documents.approval_request import request_document
from promotion.rendering.documents.being_written import Written
from promotion.rendering.documents.board import board_document
from promotion.rendering.documents.board_filter import BoardFilter
from promotion.rendering.documents.overviews import model_document, version_document
from promotion.rendering.mail import Message, compose
from promotion.workflows import decisions, operations, runs
from tests.memory import MemoryLedger

GROUP = "news-summariser"
BEGINNING = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
LINKS = Links(base_url="https://promotion.example.com", keyring=Keyring(["a key for tests"]))
CONFIG = parse(
    """
    groups = ["*"]
    [mail]
    sender = "models@example.com"
    [identity]
    issuer = "https://login.example.com/tenant/v2.0"
    client_id = "promotion"
    auditors = { id = "ml-auditors", name = "ML auditors" }
    [break_glass]
    group = { id = "ml-oncall", name = "ML on call" }
    [[environments]]
    name = "dev"
    approver_group = { id = "ml-dev", name = "ML approvers, dev" }
    approvers = ["ann@example.com", "ben@example.com"]
    [[environments]]
    name = "test"
    approver_group = { id = "ml-test", name = "ML approvers, test" }
    approvers = ["ann@example.com", "ben@example.com"]
    stakeholders = ["news@example.com"]
    [[environments.gates]]
    metric = "rougeL"
    min = 0.6
    largest_regression = 0.05
    [[environments.gates]]
    metric = "exact_match"
    min = 0.1
    [[environments]]
    name = "uat"
    approver_group = { id = "ml-uat", name = "ML approvers, uat" }
    approvers = ["ann@example.com", "cho@example.com"]
    [[environments.gates]]
    metric = "rougeL"
    min = 0.6
    [[environments]]
    name = "prod"
    approver_group = { id = "ml-prod", name = "ML approvers, prod" }
    approvers = ["ann@example.com", "cho@example.com", "dan@example.com"]
    quorum = 2
    [[environments.gates]]
    metric = "rougeL"
    min = 0.6
    """
)
ANN = Person(
    subject="ann",
    name="Ann Adler",
    email="ann@example.com",
    groups=frozenset({"ml-dev", "ml-test", "ml-uat", "ml-prod"}),
)
CHO = Person(subject="cho", name="조민서", email="cho@example.com", groups=frozenset({"ml-uat", "ml-prod"}))
AUD = Person(subject="aud", name="Aud Auditor", email="aud@example.com", groups=frozenset({"ml-auditors"}))
GIL = Person(subject="gil", name="Gil on call", email="gil@example.com", groups=frozenset({"ml-oncall"}))
DEE = Requester(actor=Actor(kind="requester", subject="dee@example.com", name="Dee"), declared_by="self")
SAMPLES: list[dict[str, Any]] = [
    {
        "id": "n-17",
        "input": "Rates rose by half a point …",
        "output": "Rates rose.",
        "reference": "Rates up",
        "score": 0.41,
    },
    {"id": "n-03", "input": "ראש הממשלה נפגש עם השרים", "output": "", "reference": "פגישת שרים", "score": 0.0},
    {
        "id": "n-40",
        "input": "<b>Markup</b> in a record",
        "output": "Markup & more",
        "reference": "Markup",
        "score": 0.5,
    },
]


class Scenario:
    """One group's story so far."""

    def __init__(self, config: Config = CONFIG, *, group: str = GROUP) -> None:
        self.config, self.group, self.now, self.ledger = config, group, BEGINNING, MemoryLedger()

    @property
    def context(self) -> Context:
        return Context(ledger=self.ledger, config=self.config, now=self.now)

    @property
    def view(self) -> GroupSnapshot:
        return refolded(self.ledger.head(self.group), self.ledger.events(self.group))

    @property
    def events(self) -> list[Event]:
        return list(self.ledger.events(self.group))

    def later(self, **length: float) -> None:
        self.now += timedelta(**length)

    def registers(self, version: int, **about: Any) -> None:
        evidence = about.pop("evidence", registered(0.5 + version / 100))
        decisions.register(package(version, group=self.group, **about), evidence, context=self.context)

    def decides(
        self, environment: str, version: int, verdict: str = "Approved", *, by: Person = ANN, reason: str = ""
    ) -> None:
        asked = request_id(self.group, version, environment, self.view.version(version).requests[environment].attempt)
        reason = reason or ("Good enough on every slice." if verdict == "Approved" else "It repeats itself.")
        glass = by is GIL
        decisions.record_decision(asked, by, verdict, reason, context=self.context, breaking_glass=glass)

    def runs(self, environment: str, version: int, evidence: Evidence) -> None:
        runs.record_inference(self.group, version, replace(evidence, environment=environment), context=self.context)

    def promotes(self, version: int, rouge: float, *, to: str = "test") -> None:
        """A version comes to ask for environment `to`, approved in all before it."""
        self.registers(version)
        for name in self.config.environment_names[: self.config.environment_names.index(to)]:
            self.later(hours=1)
            for person in (ANN, CHO)[: self.config.environment(name, self.group).quorum]:
                self.decides(name, version, by=person)
            self.later(minutes=20)
            self.runs(name, version, measured(rouge, run_id=f"{name}-{version}"))

    def rolls_back(self, environment: str, *, by: Person = ANN) -> None:
        operations.roll_back(
            self.group, environment, by, "Summaries came out in the wrong language.", context=self.context
        )

    def revokes(self, version: int, *, by: Person = ANN) -> None:
        operations.revoke(self.group, version, by, "Its training data may not be used.", context=self.context)

    def asks_again(self, environment: str, version: int, person: Person, changed: str) -> None:
        asked = self.view.version(version).requests[environment].id
        decisions.ask_again(asked, person, changed, context=self.context)

    def keeps_time(self, environment: str) -> None:
        decisions.keep_time(self.view.environment(environment), context=self.context)

    def happens(self, fact: NewEvent) -> None:
        """Append an event that no workflow appends yet."""
        view = self.view
        events = chained(view.head, [fact], time=self.now, policy_digest=self.config.policy_digest())
        for event in events:
            evolve(view, event)
        self.ledger.append(view, events)

    def mails(self, kind: str | None = None, **more: Any) -> list[Message]:
        """The mails of all events, or of those of one kind."""
        found: list[Message] = []
        for event in self.events:
            if kind in (None, event.kind):
                found += compose(event, view=self.view, config=self.config, links=LINKS, picture=picture, **more)
        return found

    def request(self, environment: str, version: int, person: Person = ANN, **more: Any) -> dict[str, Any]:
        attempt = self.view.version(version).requests[environment].attempt
        asked = request_id(self.group, version, environment, attempt)
        situation = decisions.situation(self.view, asked, context=self.context)
        live = situation.environment.live
        state = self.view.find_version(live) if live is not None else None
        given: dict[str, Any] = {
            "csrf": "csrf-token",
            "live": state,
            "applied": None,
            "samples": None,
            "links": LINKS,
        } | more
        return request_document(situation, person, **given)

    def model(self, person: Person = ANN, *, applied: Mapping[str, int] | None = None) -> dict[str, Any]:
        view = self.view
        versions = list(view.versions.values())
        told: dict[str, Any] = {"csrf": "csrf-token", "links": LINKS, "now": self.now, "applied": applied}
        return model_document(self.group, versions, view.environments, self.events, person, self.config, **told)

    def version(
        self,
        number: int,
        person: Person = ANN,
        *,
        with_: int | None = None,
        own_image: str = "",
        applied: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        view = self.view
        state, other = view.version(number), view.version(with_) if with_ is not None else None
        told: dict[str, Any] = {
            "csrf": "csrf-token",
            "links": LINKS,
            "now": self.now,
            "numbers": view.versions,
            "other": other,
            "own_image": own_image,
            "applied": applied,
        }
        return version_document(state, view, self.events, person, self.config, **told)

    def board(
        self,
        person: Person = ANN,
        *others: EnvironmentState,
        wanted: str = "",
        shown: BoardPage | None = None,
        written: Written | None = None,
        **query: str,
    ) -> dict[str, Any]:
        states = [*self.view.environments.values(), *others]
        given: dict[str, Any] = {
            "links": LINKS,
            "now": self.now,
            "csrf": "csrf-token",
            "page": shown,
            "written": written,
        }
        chosen = BoardFilter.read({"q": wanted, **query}, self.config)
        return board_document(states, person, self.config, wanted=chosen, **given)


def page(name: str, document: Mapping[str, Any], person: Person = ANN) -> str:
    return pages.render(name, dict(document), person=person)


def package(version: int, *, group: str = GROUP, **changes: Any) -> Package:
    digest = f"{version:02x}" * 32
    given = Package(
        group=group,
        version=version,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{version}",
        containers=(
            Container(
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/hf:2.1",
                image_digest="sha256:" + "ab" * 32,
                model_data_url=f"s3://promotion-models/{group}/{version}/model.tar.gz",
                model_data_version_id="3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY",
                size=243_000_000 + version * 1_000_000,
                sha256=digest,
                manifest_sha256=digest[::-1],
                environment={"HF_TASK": "summarization"},
            ),
        ),
        content_types=("application/jsonlines",),
        requester=DEE,
        description=f"Run {version}: more regional news, and a longer context.",
        created_at=BEGINNING + timedelta(hours=version),
        metadata={
            "base_model": "google/flan-t5-small",
            "base_model_revision": "0fc9ddf",
            "licence": "apache-2.0",
            "training_data": f"news-2026-{version:02d}",
            "commit": f"{version:07x}",
        },
    )
    return replace(given, **changes)


def registered(rouge: float, **changes: Any) -> Evidence:
    given = Evidence(
        source="registration",
        task="summarization",
        metrics={"rougeL": Metric(value=rouge), "exact_match": Metric(value=0.21)},
        metrics_uri="s3://promotion-models/news/metrics.json",
    )
    return replace(given, **changes)


def measured(rouge: float, **changes: Any) -> Evidence:
    given = Evidence(
        source="inference",
        environment="dev",
        run_id="run-1",
        task="summarization",
        metrics_uri="s3://promotion-evidence/news/dev/run-1/score/metrics.json",
        metrics={
            "rougeL": Metric(value=rouge, low=rouge - 0.03, high=rouge + 0.03, n=240),
            "rouge1": Metric(value=rouge + 0.05, low=rouge + 0.02, high=rouge + 0.08, n=240),
            "exact_match": Metric(value=0.22, low=0.17, high=0.27, n=240),
        },
        counts={"records": 240, "errors": 0, "truncated": 3, "tokens_in": 61_204, "tokens_out": 9_310},
        latency_ms={"p50": 41.2, "p95": 88.0, "p99": 131.5},
        throughput={"records_per_s": 22.4, "tokens_per_s": 870.0},
        engine={"name": "transformers", "device": "cuda", "dtype": "bfloat16"},
        drift={"length_psi": 0.04},
        pictures=("metrics.png", "latency.png"),
    )
    return replace(given, **changes)


def picture(address: str) -> bytes | None:
    """A small PNG for any address of ours; what is called `lost` is not there."""
    return None if "lost" in address else tiny_png()


def tiny_png(width: int = 272, height: int = 90) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes((60, 120, 180)) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def live_version(scenario: Scenario, environment: str) -> VersionState | None:
    live = scenario.view.environment(environment).live
    return scenario.view.version(live) if live is not None else None
