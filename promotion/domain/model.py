"""The immutable model of this service: packages, requests, evidence, environments, and their rules.

Versions are SageMaker model package versions (int, from 1). Times are aware UTC. Digests are SHA-256 in hex.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.domain.curves import Confusion
from promotion.domain.gate_result import GateResult, Measured
from promotion.domain.people import Actor, Requester
from promotion.domain.request_ids import request_id

FORMER_KEPT = 50
RUNS_REMEMBERED = 20
# Version of the format in which events, states, anchors and exports are stored. Readers accept every earlier one and the next.
SCHEMA = 1
# Version of the rules that fold events into states. A stored state of another fold version is folded again.
# Increase it with every change of a state's fields or of promotion/ledger/fold.py that changes states.
FOLD_VERSION = 6


class Container(Struct, frozen=True, kw_only=True):
    """One container of a package, with the digests of its bytes once they are known.

    An address that ends in a slash is a folder in S3: it has `files` files, no version id, and `sha256` is that of the list of
    their object versions (promotion/client/folder_artifact.py).
    """

    image: str
    image_digest: str = ""
    model_data_url: str = ""
    model_data_version_id: str = ""
    size: int = 0
    files: int = 0
    sha256: str = ""
    manifest_sha256: str = ""
    environment: dict[str, str] = {}

    @property
    def image_can_move(self) -> bool:
        """True if only a tag names the image, so that anybody who may push the tag can replace the image."""
        return bool(self.image) and not self.image_digest and "@" not in self.image


class Metric(Struct, frozen=True, kw_only=True):
    """A number about a model; `low` and `high` bound its 95 % confidence interval, `n` counts the samples."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Evidence(Struct, frozen=True, kw_only=True):
    """Evidence of a decision: the registered metrics, or those of an inference run in `environment`.

    `metrics_sha256` is the digest of the document at `metrics_uri` when it was recorded; pages read its other contents
    (samples, slices) from there and check it. `input_digest` and `references_digest` are SHA-256 of the data that the run read;
    `reporter` is the ARN of the principal that reported it, or the account that sent the event; empty for our own runs.
    `roc` has false and true positive rates.
    """

    source: Literal["registration", "inference"]
    environment: str | None = None
    run_id: str = ""
    status: Literal["Completed", "Failed", "Missing"] = "Completed"
    problem: str = ""
    metrics_uri: str = ""
    metrics_sha256: str = ""
    task: str = ""
    metrics: dict[str, Metric] = {}
    counts: dict[str, int] = {}
    latency_ms: dict[str, float] = {}
    throughput: dict[str, float] = {}
    engine: dict[str, Any] = {}
    drift: dict[str, float] = {}
    pictures: tuple[str, ...] = ()
    licence: str = ""
    attached: tuple[str, ...] = ()
    cost_usd: float | None = None
    cost_basis: str = ""
    input_digest: str = ""
    references_digest: str = ""
    precision: str = ""
    reporter: str = ""
    confusion: Confusion | None = None
    roc: tuple[tuple[float, float], ...] = ()


class Package(Struct, frozen=True, kw_only=True):
    """A model package version, as described by the registry at its registration.

    `card` has the sections of its model card for a decision, as title and text; `metadata` also has AWS's own records of its
    origin; `licence`, `attached` and `baseline_uri` are for gates and drift (promotion/domain/registration.py).
    `described` has the other fields of the registry, in words: domain, task, framework, reports, creator.
    `problem` is the reason why it can't be approved yet: the artifact is still being hashed, or can't be read. `no_room`: its
    metadata is so full that the registry accepts none of this service's fields.
    """

    group: str
    version: int
    arn: str
    containers: tuple[Container, ...]
    content_types: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    requester: Requester | None = None
    description: str = ""
    created_at: datetime | None = None
    metadata: dict[str, str] = {}
    card: tuple[tuple[str, str], ...] = ()
    licence: str = ""
    attached: tuple[str, ...] = ()
    baseline_uri: str = ""
    described: dict[str, str] = {}
    hashing: bool = False
    problem: str = ""
    no_room: bool = False


class Vote(Struct, frozen=True, kw_only=True):
    """A vote on a request, with the digest of the information shown and the signature's meaning (21 CFR 11.50)."""

    actor: Actor
    verdict: str
    reason: str
    at: datetime
    evidence_digest: str = ""
    meaning: str = ""


ClosedState = Literal["Approved", "Rejected", "Expired", "Superseded", "Withdrawn", "Revoked"]
RequestState = Literal["Pending", ClosedState]


class Ending(Struct, frozen=True, kw_only=True):
    """The end of a request or of its approval: its state or `RolledBack`, by whom, when, and the reason if given."""

    how: str
    at: datetime
    by: str = ""
    reason: str = ""


class Request(Struct, frozen=True, kw_only=True):
    """A request to approve a version for an environment. `attempt` counts from 1 for each version and environment.

    `evidence` and `gates` are those of the newest completed run; their digests are SHA-256 of their JSON in the event that has
    them. `told_at` is the time when approvers were last notified of changed gate results; `failed_at` the time when a further
    run last failed a gate that had passed. `measured` are the newest completed runs; `runs` and `runs_passed` count all.
    `ending` is the request's end, `earlier` are the ends of the newest requests before it.
    """

    group: str
    version: int
    environment: str
    attempt: int
    state: RequestState = "Pending"
    requested_at: datetime
    expires_at: datetime
    reminded: bool = False
    evidence: Evidence
    gates: tuple[GateResult, ...] = ()
    votes: tuple[Vote, ...] = ()
    closed_at: datetime | None = None
    closed_sequence: int = 0
    superseded_by: str = ""
    changed: str = ""
    evidence_digest: str = ""
    gates_digest: str = ""
    told_at: datetime | None = None
    failed_at: datetime | None = None
    measured: tuple[Measured, ...] = ()
    runs: int = 0
    runs_passed: int = 0
    ending: Ending | None = None
    earlier: tuple[Ending, ...] = ()

    @property
    def id(self) -> str:
        """Id of the request, made of group, version, environment and attempt."""
        return request_id(self.group, self.version, self.environment, self.attempt)

    @property
    def approvals(self) -> tuple[Vote, ...]:
        """Votes that approve."""
        return tuple(vote for vote in self.votes if vote.verdict == names.APPROVED)

    def state_at(self, now: datetime) -> RequestState:
        """Return the state at `now`: a pending request past its expiry is expired, even before the sweep."""
        if self.state == "Pending" and now >= self.expires_at:
            return "Expired"
        return self.state

    @property
    def gates_open(self) -> bool:
        """True if every quality gate passed."""
        return all(gate.open for gate in self.gates)


class Approval(Struct, frozen=True, kw_only=True):
    """Approval of a version for an environment, as its live record has it."""

    approval_id: str
    approved_by: tuple[str, ...]  # subjects
    approved_at: datetime


class VersionState(Struct, frozen=True, kw_only=True):
    """State of a version, folded from its events.

    `status_since` is the time of the last event that affects the registry's approval status; `bypass_seen` is its last
    out-of-band change, so that a second event about it is no second bypass. `package_digest` is SHA-256 of the package's JSON in
    its events. `passed` are the environments where it is live, or was until a newer version; an environment that was rolled back
    from it is not among them until it is live there again, with any status. `changes` has the fields that differ between
    registry and ledger, with both values; `unasked` is the reason why no approval was requested; `attempts` counts the requests
    of an earlier package under this number, by environment.
    """

    schema: int = SCHEMA
    fold: int = 0
    package: Package
    package_digest: str = ""
    # Written as `names.Status` (`with_status`), read as text: a state of another release may know more of them.
    statuses: dict[str, str] = {}
    requests: dict[str, Request] = {}
    approvals: dict[str, Approval] = {}
    evidence: dict[str, Evidence] = {}
    evidence_digests: dict[str, str] = {}
    runs: tuple[str, ...] = ()
    furthest: str = ""
    passed: tuple[str, ...] = ()
    revoked: bool = False
    bypassed: bool = False
    bypass_seen: str = ""
    status_since: datetime | None = None
    removed: bool = False
    changes: dict[str, tuple[str, str]] = {}
    unasked: str = ""
    attempts: dict[str, int] = {}
    first_sequence: int = 0
    last_sequence: int = 0

    @property
    def group(self) -> str:
        """Name of the model package group."""
        return self.package.group

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.package.version

    def with_status(self, environment: str, status: names.Status) -> VersionState:
        """Return the version with another status in an environment."""
        return replace(self, statuses={**self.statuses, environment: status})


class EndpointState(Struct, frozen=True, kw_only=True):
    """Last observed state of a real-time endpoint: InService, Failed or Withdrawn; empty without one.

    `version` is the served version, `config` the configuration that the status is about. `removed` is True if an operator
    removed the endpoint, `asked` is the event by which an operator last restored it.
    """

    name: str = ""
    status: str = ""
    version: int | None = None
    config: str = ""
    problem: str = ""
    since: datetime | None = None
    removed: bool = False
    asked: int = 0


class Closed(Struct, frozen=True, kw_only=True):
    """The last request of an environment that closed without an approval; `by` is empty if no person closed it.

    `stop` is the reason why nobody could approve a new request of the version (`asking_stop`).
    """

    version: int
    state: RequestState
    at: datetime
    request_id: str
    by: str = ""
    stop: str = ""


class EnvironmentState(Struct, frozen=True, kw_only=True):
    """State of a group's environment: the live version, former ones, and the pending one.

    `former` lists earlier live versions, oldest first, without the present one and revoked ones. `drifting` names
    the sources that report drift of the live version's input: inference runs, or a monitor. An episode of drift begins at
    `drift_since` and lasts until no source reports it any more, or another version is live; `retraining` is the pipeline's last
    execution. `broken_since` is set while the live bytes are not the approved ones, until a run finds the right ones or another
    version is live. `failed_since` is the time of a failed run of the live version, with `failure`, until a run completes or
    another version is live. `pending_stop` is the problem of the pending version's package that prevents any approval
    (`package_stop`), `pending_rolled_back` the environments in which that version was rolled back, `pending_approvers` its
    approvers in other environments; lists of all groups read no version. `closed` is the last closed request, until a version
    goes live.
    `kept` is a version that stays live although its number is now another package's, because its group was made anew.
    """

    schema: int = SCHEMA
    fold: int = 0
    group: str
    name: str
    live: int | None = None
    live_sequence: int = 0
    live_since: datetime | None = None
    live_by: tuple[str, ...] = ()
    approval_id: str = ""
    former: tuple[int, ...] = ()
    pending: int | None = None
    pending_since: datetime | None = None
    pending_expires_at: datetime | None = None
    pending_id: str = ""
    pending_gates_open: bool = True
    pending_votes: int = 0
    pending_voters: tuple[Actor, ...] = ()
    pending_requester: Requester | None = None
    pending_reminded: bool = False
    pending_stop: str = ""
    pending_rolled_back: tuple[str, ...] = ()
    pending_approvers: dict[str, tuple[Actor, ...]] = {}
    closed: Closed | None = None
    revoked: bool = False
    last_run: str = ""
    drift: bool = False
    drifting: tuple[str, ...] = ()
    drift_since: datetime | None = None
    retrained_at: datetime | None = None
    retraining: str = ""
    broken_since: datetime | None = None
    failed_since: datetime | None = None
    failure: str = ""
    kept: VersionState | None = None
    endpoint: EndpointState = EndpointState()

    @property
    def is_troubled(self) -> bool:
        """True if the live version has a problem."""
        endpoint_failed = self.endpoint.status == names.ENDPOINT_FAILED and not self.endpoint.removed
        return bool(self.broken_since or self.failed_since or self.drift or endpoint_failed)

    @property
    def is_active(self) -> bool:
        """True if a request is open or the live version has a problem, so that people may have to act."""
        return self.pending is not None or self.is_troubled


class Head(Struct, frozen=True, kw_only=True):
    """The latest ledger position of a group (sequence and hash), with its signature in base64 and the key that made it."""

    schema: int = SCHEMA
    group: str
    sequence: int = 0
    hash: str = ""
    event_id: str = ""
    policy_digest: str = ""
    signature: str = ""
    key_id: str = ""


def registry_status(version: VersionState, first: str) -> str:
    """Return the version's ModelApprovalStatus according to the ledger.

    It follows the first environment's decision, so `Approved` means approved for the first environment. Rollback and
    supersession don't change it, a revocation makes it Rejected. A version adopted in a later environment is Approved too.
    """
    if version.revoked:
        return names.REJECTED
    if version.approvals:
        return names.APPROVED
    if version.statuses.get(first) == names.REJECTED:
        return names.REJECTED
    return names.PENDING
