"""The words that code, template and users share: statuses, event kinds, environment variables, parameter names."""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal, TypeAlias

SERVICE: Final = "promotion"
# This release, as pyproject.toml has it. The deployed one is in the service parameter.
RELEASE: Final = "0.1.0"

# Values of a package's environment field in CustomerMetadataProperties. A request's states are a type of their own
# (`RequestState` in promotion/domain/model.py), so that mypy tells the two apart.
Status: TypeAlias = Literal[
    "PendingManualApproval", "Approved", "Rejected", "Expired", "Superseded", "Withdrawn", "Revoked", "RolledBack"
]
Verdict: TypeAlias = Literal["Approved", "Rejected"]
PENDING: Final = "PendingManualApproval"
APPROVED: Final = "Approved"
REJECTED: Final = "Rejected"
EXPIRED: Final = "Expired"
SUPERSEDED: Final = "Superseded"
WITHDRAWN: Final = "Withdrawn"
REVOKED: Final = "Revoked"
ROLLED_BACK: Final = "RolledBack"
STATUSES: Final[tuple[Status, ...]] = (
    PENDING,
    APPROVED,
    REJECTED,
    EXPIRED,
    SUPERSEDED,
    WITHDRAWN,
    REVOKED,
    ROLLED_BACK,
)
VERDICTS: Final[tuple[Verdict, ...]] = (APPROVED, REJECTED)

# In the place of a run's baseline, or of its constraints: the reason why it can't be used.
BASELINE_PROBLEM: Final = "baseline_problem"
CONSTRAINTS_PROBLEM: Final = "constraints_problem"

# Kinds of ledger events. Those in PUBLISHED are also detail-types on the service's bus.
EventKind: TypeAlias = Literal[
    "Model Registered",
    "Registration Asked",
    "Artifact Hashed",
    "Approval Requested",
    "Approver Reminded",
    "Decision Recorded",
    "Model Promoted",
    "Model Rolled Back",
    "Model Revoked",
    "Model Adopted",
    "Request Expired",
    "Request Superseded",
    "Request Withdrawn",
    "Approval Bypassed",
    "Package Removed",
    "Package Changed",
    "Inference Completed",
    "Inference Skipped",
    "Drift Detected",
    "Drift Ended",
    "Retraining Started",
    "Endpoint Changed",
    "Policy Changed",
    "Signing Key Changed",
    "Integrity Broken",
]
MODEL_REGISTERED: Final = "Model Registered"
REGISTRATION_ASKED: Final = "Registration Asked"
ARTIFACT_HASHED: Final = "Artifact Hashed"
APPROVAL_REQUESTED: Final = "Approval Requested"
APPROVER_REMINDED: Final = "Approver Reminded"
DECISION_RECORDED: Final = "Decision Recorded"
MODEL_PROMOTED: Final = "Model Promoted"
MODEL_ROLLED_BACK: Final = "Model Rolled Back"
MODEL_REVOKED: Final = "Model Revoked"
MODEL_ADOPTED: Final = "Model Adopted"
REQUEST_EXPIRED: Final = "Request Expired"
REQUEST_SUPERSEDED: Final = "Request Superseded"
REQUEST_WITHDRAWN: Final = "Request Withdrawn"
APPROVAL_BYPASSED: Final = "Approval Bypassed"
PACKAGE_REMOVED: Final = "Package Removed"
PACKAGE_CHANGED: Final = "Package Changed"
INFERENCE_COMPLETED: Final = "Inference Completed"
INFERENCE_SKIPPED: Final = "Inference Skipped"
DRIFT_DETECTED: Final = "Drift Detected"
DRIFT_ENDED: Final = "Drift Ended"
RETRAINING_STARTED: Final = "Retraining Started"
ENDPOINT_CHANGED: Final = "Endpoint Changed"
POLICY_CHANGED: Final = "Policy Changed"
SIGNING_KEY_CHANGED: Final = "Signing Key Changed"
INTEGRITY_BROKEN: Final = "Integrity Broken"
PUBLISHED: Final = (
    APPROVAL_REQUESTED,
    DECISION_RECORDED,
    MODEL_PROMOTED,
    MODEL_ROLLED_BACK,
    MODEL_REVOKED,
    REQUEST_EXPIRED,
    REQUEST_SUPERSEDED,
    REQUEST_WITHDRAWN,
    APPROVAL_BYPASSED,
    INFERENCE_COMPLETED,
    DRIFT_DETECTED,
    ENDPOINT_CHANGED,
)
# Statuses of an `Endpoint Changed` event: an observed one, or an operator's command.
ENDPOINT_IN_SERVICE: Final = "InService"
ENDPOINT_FAILED: Final = "Failed"
ENDPOINT_WITHDRAWN: Final = "Withdrawn"
ENDPOINT_REMOVED: Final = "Removed"
ENDPOINT_RESTORED: Final = "Restored"
# Status in a machine's report where there was no input to run on.
SKIPPED: Final = "Skipped"
EVENT_SOURCE: Final = "promotion"
INFERENCE_SOURCE: Final = "promotion.inference"
# Source and detail-type of the events that start the runs of a schedule.
SCHEDULE_SOURCE: Final = "promotion.schedule"
RUN_SCHEDULED: Final = "Run Scheduled"
# Source of the events by which teams report evaluations of their own.
REPORT_SOURCE: Final = "promotion.report"
# Source of events for our own channels alone: what waited with the mail (`[advanced.mail] settle`) is due.
CHANNELS_SOURCE: Final = "promotion.channels"
SAGEMAKER_SOURCE: Final = "aws.sagemaker"
PACKAGE_STATE_CHANGE: Final = "SageMaker Model Package State Change"
PROCESSING_STATE_CHANGE: Final = "SageMaker Processing Job State Change"
ENDPOINT_STATE_CHANGES: Final = ("SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change")
# Jobs that hash large artifacts, and where below the evidence bucket they leave what they found.
HASH_JOBS: Final = "promotion-hash-"
HASHES: Final = "hashes"
# Lists of the members of artifacts, below the evidence bucket, each under its own SHA-256.
MANIFESTS: Final = "manifests"
# Events of runs that Parameter Store has as one entry, below the evidence bucket.
FOLDED_RUNS: Final = "folded-runs"
# Histories of versions that have left Parameter Store, below the evidence bucket.
ARCHIVES: Final = "archives"
# Checkpoints of verifications: below the evidence bucket, and their digests below the anchors' bucket.
CHECKPOINTS: Final = "checkpoints"
# No group is called so, and no run writes there.
COPIES: Final = "_approved"
MODEL_PACKAGE_ARN: Final = "MODEL_PACKAGE_ARN"

# Projection targets, in the order in which a revocation must reach them: the registry before anything else.
TargetName: TypeAlias = Literal["registry", "parameters", "events", "mail", "attestations"]
REGISTRY: Final = "registry"
PARAMETERS: Final = "parameters"
EVENTS: Final = "events"
MAIL: Final = "mail"
# Also the place below the evidence bucket.
ATTESTATIONS: Final = "attestations"
# In place of a group on the wake queue: mails about several groups. No group can be called so.
DIGEST: Final = ".digest"
TARGETS: Final[tuple[TargetName, ...]] = (REGISTRY, PARAMETERS, EVENTS, MAIL, ATTESTATIONS)
# Beside the targets' cursors: what the last verification found, by group.
DIFFERENCES_KEY: Final = "DIFFERENCES"
# Also there: mail that SES refuses for good, by group and address.
REFUSED_MAIL_KEY: Final = "REFUSED MAIL"

# Environment variables of the functions.
CONFIG: Final = "PROMOTION_CONFIG"
PREFIX: Final = "PROMOTION_PREFIX"
PUBLIC_KEY: Final = "PROMOTION_PUBLIC_KEY"
LEDGER_TABLE: Final = "LEDGER_TABLE"
PROJECTIONS_TABLE: Final = "PROJECTIONS_TABLE"
ENDED_SESSIONS_TABLE: Final = "ENDED_SESSIONS_TABLE"
SIGNING_KEY_ARN: Final = "SIGNING_KEY_ARN"
OWN_KEY_ARN: Final = "OWN_KEY_ARN"
LINK_KEYS_SECRET_ARN: Final = "LINK_KEYS_SECRET_ARN"
FORM_KEYS_SECRET_ARN: Final = "FORM_KEYS_SECRET_ARN"
SIGN_IN_KEYS_SECRET_ARN: Final = "SIGN_IN_KEYS_SECRET_ARN"
SESSION_KEY_ARN: Final = "SESSION_KEY_ARN"
IDENTITY_SECRET_ARN: Final = "IDENTITY_SECRET_ARN"
EVENT_BUS_NAME: Final = "EVENT_BUS_NAME"
VERIFY_QUEUE_URL: Final = "VERIFY_QUEUE_URL"
PUBLIC_URL: Final = "PUBLIC_URL"
WAKE_QUEUE_URL: Final = "WAKE_QUEUE_URL"
LATER_QUEUE_URL: Final = "LATER_QUEUE_URL"
REGISTRATIONS_QUEUE_URL: Final = "REGISTRATIONS_QUEUE_URL"
DEAD_LETTER_QUEUE_URL: Final = "DEAD_LETTER_QUEUE_URL"
ALARM_TOPIC_ARN: Final = "ALARM_TOPIC_ARN"
CONFIGURATION_SET: Final = "CONFIGURATION_SET"
REGISTRY_ROLE_ARN: Final = "REGISTRY_ROLE_ARN"
RECORD_FUNCTION: Final = "RECORD_FUNCTION"
EVIDENCE_BUCKET: Final = "EVIDENCE_BUCKET"
HASHING_ROLE_ARN: Final = "HASHING_ROLE_ARN"
INFERENCE_IMAGE: Final = "INFERENCE_IMAGE"
ANCHOR_BUCKET: Final = "ANCHOR_BUCKET"
EXECUTION_ROLES: Final = "EXECUTION_ROLES"

# Tags of the ledger that name what is kept with it, for the next installation to find.
KEPT: Final = {
    "projections": "promotion:projections",
    "signing_key": "promotion:signing-key",
    "evidence": "promotion:evidence",
    "anchors": "promotion:anchors",
}

METRICS_NAMESPACE: Final = "Promotion"
# Counted by the daily verification; above 0 it alarms.
DIFFERENCES_METRIC: Final = "VerifyDifferences"
# Runs that failed, by environment: how an account's runs are heard of in another.
FAILED_RUNS_METRIC: Final = "FailedRuns"
# Sign-ins that failed for a reason that concerns everybody: the provider refuses this application, or doesn't answer.
BROKEN_SIGN_INS_METRIC: Final = "BrokenSignIns"
# Wake-ups of the projector that SQS refused.
REFUSED_WAKE_UPS_METRIC: Final = "RefusedWakeUps"
# Answers with a status of 500 or more, by function.
ERROR_ANSWERS_METRIC: Final = "ErrorAnswers"
# Parameters below the prefix, counted by the daily verification.
PARAMETERS_METRIC: Final = "Parameters"
# Age in hours of the oldest open request, at each sweep.
OLDEST_REQUEST_METRIC: Final = "OldestOpenRequestHours"
# Standard parameters that an account may have in a region, and the share of a limit at which an alarm goes off.
# https://docs.aws.amazon.com/general/latest/gr/ssm.html
MOST_PARAMETERS: Final = 10_000
NEAR_LIMIT: Final = 0.7

DEFAULT_PREFIX: Final = "/promotion"
BOARD_INDEX: Final = "board"
CONFIG_FILE: Final = "promotion.toml"
PUBLIC_KEY_FILE: Final = "promotion.pub"

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackageGroup.html
GROUP_PATTERN: Final = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}")
# Also a stage of a model's life cycle: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ModelLifeCycle.html
ENVIRONMENT_PATTERN: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
# RFC 5322: a dot-atom before the @, which is all that SES and a header take, and no RFC 2047 encoded word.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
ADDRESS_PATTERN: Final = re.compile(rf"(?!.*=\?){_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
# No environment may take a name that is a path of its own under a group, or in the HTTP API.
RESERVED_ENVIRONMENTS: Final = frozenset({"versions"})


def live_parameter(prefix: str, group: str, environment: str) -> str:
    """Name of the parameter with the live version."""
    return f"{prefix}/{group}/{environment}/live"


def version_parameter(prefix: str, group: str, version: int) -> str:
    """Name of the parameter with a version's attributes and newest history."""
    return f"{prefix}/{group}/versions/{version}"


def history_parameter(prefix: str, group: str, version: int, page: int) -> str:
    """Name of one write-once page of a version's history; pages count from 1."""
    return f"{version_parameter(prefix, group, version)}/history/{page:04d}"


def archive_parameter(prefix: str, group: str) -> str:
    """Name of the parameter that names the index of a group's archived versions."""
    return f"{prefix}/{group}/archive"


def installation(prefix: str) -> str:
    """`/promotion` → `promotion`, `/team-a/promotion` → `team-a-promotion`: two installations never share a name."""
    return prefix.strip("/").replace("/", "-")


def environment_role(prefix: str, environment: str, purpose: str) -> str:
    """Name of a role in an environment's own account.

    `purpose`: `writer`, `reader`, `machine`, `execution`, `reporter`, `endpoints` or `operator`.
    """
    return f"{installation(prefix)}-{environment}-{purpose}"


def far_queue(prefix: str, environment: str) -> str:
    """Dead-letter queue in an environment's own account, for events that its rules could not deliver."""
    return f"{installation(prefix)}-{environment}-undelivered"


def far_topic(prefix: str, environment: str) -> str:
    """SNS topic for the alarms of an environment's own account."""
    return f"{installation(prefix)}-{environment}-alarms"


def external_id(prefix: str, environment: str) -> str:
    """STS external id of the roles in an environment's account."""
    return f"{prefix}/{environment}"


def service_parameter(prefix: str) -> str:
    """Parameter that describes the deployed service to the command: its API, tables and keys."""
    return f"{prefix}/_service"


def environment_parameter(prefix: str, environment: str = "") -> str:
    """Parameter in an environment's own account that names the environment; without one, what all of them begin with."""
    return f"{prefix}/_environment/{environment}"


# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html
LONGEST_ENDPOINT_NAME: Final = 63


def endpoint_pattern(name: str, prefix: str, environment: str) -> str:
    """`[advanced.environments.ENV.endpoint] name` of one environment, with `{group}` still in it."""
    return name.replace("{service}", installation(prefix)).replace("{environment}", environment)


def endpoint_name(name: str, prefix: str, environment: str, group: str) -> str:
    """Name of the endpoint of a group in an environment; a group's name that doesn't fit is cut, and ends in a digest of it."""
    pattern = endpoint_pattern(name, prefix, environment)
    return pattern.replace("{group}", _fitting(group, LONGEST_ENDPOINT_NAME - len(pattern) + len("{group}")))


def hosted_prefix(prefix: str, environment: str) -> str:
    """Name prefix of the models and endpoint configurations behind an environment's endpoints."""
    return f"{_fitting(installation(prefix), 20)}-{_fitting(environment, 12)}-live-"


def hosted_name(prefix: str, environment: str, group: str, sequence: int, fingerprint: str) -> str:
    """Name of the model, and of the endpoint configuration, that serve what went live with one event of the ledger."""
    # Sequence and fingerprint at full length: the name is how a second delivery of an event finds what the first has made.
    return f"{hosted_stem(prefix, environment, group)}-{sequence}-{fingerprint[:8]}"


def hosted_stem(prefix: str, environment: str, group: str) -> str:
    """Name prefix that only one endpoint's models and configurations share."""
    begin = hosted_prefix(prefix, environment)
    digest = hashlib.sha256(f"{prefix}/{environment}/{group}".encode()).hexdigest()[:6]
    room = LONGEST_ENDPOINT_NAME - len(begin) - len(f"-{digest}-9999999-00000000")
    return f"{begin}{group.lower()[:room].rstrip('-')}-{digest}"


def _fitting(name: str, longest: int) -> str:
    """A name in lower case; where it is longer, its beginning and a digest of all of it."""
    if len(name) <= longest:
        return name.lower()
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: longest - 7].rstrip('-')}-{digest}".lower()
