"""The service in memory: the real rules, workflows, projector and targets, over fake AWS clients that store in dicts.

What is stored goes through JSON, as it does on AWS, so that nothing works here only because an object was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from promotion import names
from promotion.aws.keys import held_by
from promotion.aws.messages.publisher import EventsTarget
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.aws.s3.attestations import AttestationTarget, EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.config.loading import Config, parse
from promotion.config.signing_settings import FormerKey, Signing
from promotion.domain.model import Container, Evidence, Metric, Package
from promotion.domain.people import Actor, Authentication, Person, Requester
from promotion.domain.request_ids import request_id
from promotion.ledger.append import Context, Receipt
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot
from promotion.ledger.verify import Anchor, Mismatch, Verifier
from promotion.links.sessions import Sessions
from promotion.workflows import decisions, operations, runs
from promotion.workflows.projector import Failure, Target, project
from tests.memory import FakeBus, FakeS3, FakeSageMaker, FakeSsm, LocalSigner, MailLog, MemoryCursors, MemoryLedger

PREFIX = "/promotion"
GROUP = "summariser"
BEGINNING = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
CONFIG_TEXT = """
groups = ["*"]
[mail]
sender = "models@example.com"
[identity]
issuer = "https://login.example.com/tenant/v2.0"
client_id = "promotion"
auditors = { id = "auditors", name = "Auditors" }
[operators]
principals = ["arn:aws:iam::123456789012:role/operations"]
[break_glass]
group = { id = "on-call", name = "On call" }
[[environments]]
name = "dev"
approver_group = { id = "dev-approvers", name = "Approvers, dev" }
approvers = ["ann@example.com", "ben@example.com"]
[[environments]]
name = "test"
approver_group = { id = "test-approvers", name = "Approvers, test" }
approvers = ["ann@example.com", "ben@example.com"]
[[environments.gates]]
metric = "rougeL"
min = 0.6
[[environments]]
name = "prod"
approver_group = { id = "prod-approvers", name = "Approvers, prod" }
approvers = ["ann@example.com", "cho@example.com"]
quorum = 2
[[environments.gates]]
metric = "rougeL"
min = 0.6
largest_regression = 0.05
"""
CONFIG = parse(CONFIG_TEXT)
_ALL = frozenset({"dev-approvers", "test-approvers", "prod-approvers"})


def signed_in(person: Person, at: datetime) -> Person:
    """A person as a sign-in at `at` gives them: with the claims of a token that was issued then."""
    how = Authentication(issuer="https://login.example.com", subject=person.subject, issued_at=at)
    return replace(person, authentication=how)


ANN = Person(subject="ann", name="Ann Adler", email="ann@example.com", groups=_ALL)
BEN = Person(
    subject="ben", name="Ben Bauer", email="ben@example.com", groups=frozenset({"dev-approvers", "test-approvers"})
)
CHO = Person(subject="cho", name="Cho Chen", email="cho@example.com", groups=frozenset({"prod-approvers"}))
DAN = Person(subject="dan", name="Dan Diaz", email="dan@example.com", groups=frozenset({"prod-approvers"}))
DEE = Requester(actor=Actor(kind="requester", subject="dee", name="Dee"), declared_by="self")
GIL = Person(subject="gil", name="Gil", email="gil@example.com", groups=frozenset({"on-call"}))
OPERATOR = Actor(kind="operator", subject="arn:aws:sts::123456789012:assumed-role/operations/pipeline")


def as_client(fake: object) -> Any:
    """A fake in the place of one of boto3's clients."""
    return fake


class FakeService:
    """One installation in memory; a test sets its time."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.config, self.now = config, BEGINNING
        self.ledger, self.cursors, self.signer = MemoryLedger(), MemoryCursors(), LocalSigner()
        self.ssm, self.sagemaker, self.bus, self.mail = FakeSsm(), FakeSageMaker(), FakeBus(), MailLog()
        self.anchors: list[Anchor] = []
        self.s3 = FakeS3()
        self.former: list[LocalSigner] = []

    @property
    def context(self) -> Context:
        return Context(
            ledger=self.ledger,
            config=self.config,
            now=self.now,
            sign=self.signer.sign,
            key_id=self.signer.key_id,
            sign_formerly=self.sign_formerly,
        )

    @property
    def registry(self) -> RegistryTarget:
        return RegistryTarget(lambda identity: as_client(self.sagemaker), self.config.environment_names)

    def sign_formerly(self, key_id: str, message: bytes) -> bytes | None:
        return next((each.sign(message) for each in self.former if each.key_id == key_id), None)

    def another_key(self, *, lost: bool = False) -> None:
        """The signing key is replaced now; the one of before goes on signing unless it is lost."""
        before = FormerKey(key_id=self.signer.key_id, public_key=self.signer.public_key, until=self.now)
        self.former += [] if lost else [self.signer]
        self.signer = LocalSigner(f"{before.key_id}-next")
        self.config = replace(self.config, signing=Signing(former=(*self.config.signing.former, before)))

    @property
    def evidence(self) -> EvidenceBucket:
        return EvidenceBucket(as_client(self.s3), "evidence")

    @property
    def parameters(self) -> ParameterTarget:
        return ParameterTarget(
            as_client(self.ssm),
            self.signer,
            PREFIX,
            ledger=self.ledger,
            bucket=self.evidence,
            keep_versions=self.config.history.keep_versions,
        )

    @property
    def targets(self) -> dict[names.TargetName, Target]:
        return {
            names.REGISTRY: self.registry,
            names.PARAMETERS: self.parameters,
            names.EVENTS: EventsTarget(as_client(self.bus), "promotion"),
            names.MAIL: self.mail,
            names.ATTESTATIONS: AttestationTarget(self.evidence, self.signer, self.ledger.events),
        }

    def later(self, **length: float) -> None:
        self.now += timedelta(**length)

    def project(self, group: str = GROUP, targets: Mapping[names.TargetName, Target] | None = None) -> list[Failure]:
        failures, _ = project(group, ledger=self.ledger, cursors=self.cursors, targets=targets or self.targets)
        return failures

    def verify(self, group: str = GROUP) -> list[Mismatch]:
        return self.verifier.group(
            group,
            parameters=dict(read_below(as_client(self.ssm), f"{PREFIX}/{group}")),
            anchors=self.anchors,
            cursors=self.cursors.read(group),
        )

    def lines(self, group: str = GROUP) -> list[str]:
        return [found.difference.line for found in self.verify(group)]

    @property
    def verifier(self) -> Verifier:
        return Verifier(
            ledger=self.ledger,
            packages=self.registry,
            store=self.parameters,
            holds=self.signer.holds,
            prefix=PREFIX,
            key_id=self.signer.key_id,
            held=held_by(self.config.signing.former),
            former=frozenset(each.key_id for each in self.config.signing.former),
            kept_runs=self.evidence.folded_runs,
            archived=self.evidence.text,
        )

    def view(self, group: str = GROUP) -> GroupSnapshot:
        return self.ledger.view(group)

    def events(self, group: str = GROUP) -> list[Event]:
        return list(self.ledger.events(group))

    def kinds(self, group: str = GROUP) -> list[str]:
        return [event.kind for event in self.events(group)]

    def live(self, environment: str, group: str = GROUP) -> int | None:
        return self.view(group).environment(environment).live

    def status(self, version: int, environment: str, group: str = GROUP) -> str:
        return self.view(group).version(version).statuses[environment]

    def asked(self, version: int, environment: str, group: str = GROUP) -> str:
        """The id of the newest request."""
        return request_id(group, version, environment, self.view(group).version(version).requests[environment].attempt)

    def register(self, version: int, group: str = GROUP, *, rouge: float = 0.7, **about: Any) -> Receipt:
        package = a_package(version, group, **about)
        self.sagemaker.packages.setdefault(
            package.arn, {"ModelApprovalStatus": names.PENDING, "CustomerMetadataProperties": {"team": "news"}}
        )
        return decisions.register(package, a_registration(rouge), context=self.context)

    def decide(
        self,
        version: int,
        environment: str,
        by: Person = ANN,
        verdict: str = names.APPROVED,
        *,
        group: str = GROUP,
        reason: str = "Good on every slice.",
        breaking_glass: bool = False,
    ) -> Receipt:
        asked = self.asked(version, environment, group)
        return decisions.record_decision(
            asked, by, verdict, reason, context=self.context, breaking_glass=breaking_glass
        )

    def measure(
        self, version: int, environment: str, rouge: float = 0.7, *, group: str = GROUP, run: str = ""
    ) -> Receipt:
        evidence = a_run(environment, rouge, run or f"{environment}-{version}-{self.now:%H%M%S%f}")
        return runs.record_inference(group, version, evidence, context=self.context)

    def promote(self, version: int, to: str = "prod", group: str = GROUP, rouge: float = 0.7) -> None:
        """A version goes live in every environment up to `to`."""
        self.register(version, group, rouge=rouge)
        for name in self.config.environment_names:
            self.later(minutes=10)
            for person in (ANN, CHO)[: self.config.environment(name, group).quorum]:
                self.decide(version, name, person, group=group)
            if name == to:
                return
            self.later(minutes=10)
            self.measure(version, name, rouge, group=group)

    def roll_back(
        self, environment: str, to: int | None = None, by: Person | Actor = ANN, group: str = GROUP
    ) -> Receipt:
        return operations.roll_back(group, environment, by, "It stutters.", context=self.context, to_version=to)

    def revoke(self, version: int, by: Person | Actor = ANN, group: str = GROUP) -> Receipt:
        return operations.revoke(group, version, by, "Its data may not be used.", context=self.context)


def a_package(version: int, group: str = GROUP, **changes: Any) -> Package:
    digest = f"{version:02x}"[-2:] * 32
    given = Package(
        group=group,
        version=version,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{version}",
        containers=(
            Container(
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/hf:2.1",
                image_digest="sha256:" + "ab" * 32,
                model_data_url=f"s3://promotion-models/{group}/{version}/model.tar.gz",
                model_data_version_id="3HL4kqtJlcpXroDTDmJ",
                size=243_000_000,
                sha256=digest,
                manifest_sha256=digest[::-1],
                environment={"HF_TASK": "summarization"},
            ),
        ),
        content_types=("application/jsonlines",),
        requester=DEE,
    )
    return replace(given, **changes)


def a_registration(rouge: float = 0.7, **changes: Any) -> Evidence:
    given = Evidence(source="registration", task="summarization", metrics={"rougeL": Metric(value=rouge)})
    return replace(given, **changes)


def a_run(environment: str, rouge: float = 0.7, run: str = "run-1", **changes: Any) -> Evidence:
    given = Evidence(
        source="inference",
        environment=environment,
        run_id=run,
        metrics={"rougeL": Metric(value=rouge, low=rouge - 0.02, high=rouge + 0.02, n=60)},
        counts={"records": 60, "errors": 0},
    )
    return replace(given, **changes)


class FailingOnce:
    """A target that does its work, or not, and then breaks, once."""

    def __init__(self, target: Target, error: Exception, *, after: bool) -> None:
        self._target, self._error, self._after, self._broken = target, error, after, False
        self.one_by_one = target.one_by_one

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        if self._broken:
            self._target.project(view, events)
            return
        self._broken = True
        if self._after:
            self._target.project(view, events)
        raise self._error


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def session_key(longest: timedelta = timedelta(hours=24)) -> Sessions:
    """Sessions under a key of their own."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Sessions(pem, lambda message: key.sign(message, ec.ECDSA(hashes.SHA256())), longest=longest)
