"""Typed sections of `promotion.toml`, and the effective settings of a group or an environment.

Every section is a frozen struct that refuses unknown settings: a misspelt `quorum` must not silently become 1.
"""

from __future__ import annotations

import fnmatch
import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from promotion.config.durations import duration as duration
from promotion.config.history_settings import HistorySettings as HistorySettings
from promotion.config.inference_settings import Evaluation as Evaluation
from promotion.config.inference_settings import Inference as Inference
from promotion.config.mail_settings import Mail as Mail
from promotion.config.people_settings import Decision as Decision
from promotion.config.people_settings import Identity as Identity
from promotion.config.people_settings import PeopleGroup as PeopleGroup
from promotion.config.people_settings import Web as Web
from promotion.config.recorded import without_defaults
from promotion.config.signing_settings import Signing
from promotion.errors import Invalid

Quorum = Annotated[int, Meta(ge=1, le=20)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class Gate(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A quality gate: one condition on evidence. It fails if the metric is missing or NaN.

    `min`, `max`: bounds on the value. `largest_regression`: how much worse than the live version's value it may be,
    absolute or, with `relative`, as a share of that value. `lower_is_better`: a lower value is better. `min_samples`:
    the least number of samples. Instead of `metric`, a gate may have `largest_error_rate`, `largest_drift`, `licences`
    or `requires`.
    """

    metric: str | None = None
    min: float | None = None
    max: float | None = None
    largest_regression: Annotated[float, Meta(ge=0.0)] | None = None
    relative: bool = False
    lower_is_better: bool = False
    min_samples: Annotated[int, Meta(ge=1)] | None = None
    largest_error_rate: Share | None = None
    largest_drift: Annotated[float, Meta(ge=0.0)] | None = None
    licences: tuple[str, ...] | None = None
    requires: Literal["model_card", "report"] | None = None


class FreezeWindow(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A period without promotions into an environment. Rollbacks stay allowed."""

    start: datetime
    end: datetime
    reason: str = "change freeze"
    environments: tuple[str, ...] = ()


class Endpoint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Real-time endpoints of an environment's live models, for the groups that `groups` names."""

    groups: tuple[str, ...] = ("*",)
    name: str = "{service}-{environment}-{group}"
    instance_type: str = "ml.g5.xlarge"
    inference_ami_version: str | None = None
    instance_count: Annotated[int, Meta(ge=1, le=100)] = 1
    volume_size_gb: Annotated[int, Meta(ge=1, le=512)] | None = None
    download_timeout_seconds: Annotated[int, Meta(ge=60, le=3600)] = 1800
    health_timeout_seconds: Annotated[int, Meta(ge=60, le=3600)] = 900
    bake_seconds: Annotated[int, Meta(ge=0, le=3600)] = 300
    largest_error_rate: Share = 0.05
    largest_latency_ms: Annotated[float, Meta(gt=0.0)] | None = None

    def serves(self, group: str) -> bool:
        """Return True if live models of the group are served here."""
        return any(fnmatch.fnmatchcase(group, pattern) for pattern in self.groups)


class Environment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An environment: its approver group, rules and quality gates."""

    name: str
    approver_group: PeopleGroup
    approvers: tuple[str, ...]
    quorum: Quorum = 1
    expires_after: str = "72h"
    requester_may_approve: bool = False
    previous_approver_may_approve: bool = True
    stakeholders: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    account: str | None = None
    region: str | None = None
    execution_role: str | None = None
    subnets: tuple[str, ...] | None = None
    security_groups: tuple[str, ...] | None = None
    volume_key: str | None = None
    output_key: str | None = None
    on_revoke: Literal["fall_back", "nothing"] = "fall_back"
    endpoint: Endpoint | None = None
    decision: Decision = msgspec.field(default_factory=Decision)
    signature: bool = False
    without_run: Literal["ask", "wait"] | None = None

    @property
    def lifetime(self) -> timedelta:
        """Time until a request for this environment expires."""
        return duration(self.expires_after)


class EnvironmentOverride(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of an environment that a group pattern overrides; None keeps the environment's own."""

    approver_group: PeopleGroup | None = None
    approvers: tuple[str, ...] | None = None
    quorum: Quorum | None = None
    expires_after: str | None = None
    requester_may_approve: bool | None = None
    previous_approver_may_approve: bool | None = None
    stakeholders: tuple[str, ...] | None = None
    gates: tuple[Gate, ...] | None = None
    on_revoke: Literal["fall_back", "nothing"] | None = None
    decision: Decision | None = None
    signature: bool | None = None
    without_run: Literal["ask", "wait"] | None = None


class GroupOverride(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that a group pattern overrides, for environments and for inference runs."""

    environments: dict[str, EnvironmentOverride] = {}
    inference: Evaluation = Evaluation()


class Operators(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """IAM principals (ARNs, `*` as wildcard) who may roll back, revoke and adopt by command."""

    principals: tuple[str, ...] = ()


class BreakGlass(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Break-glass group: may override a failed gate or a missing quorum, with a published reason."""

    group: PeopleGroup


class Registry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The account of the registry and the service; required if an environment has its own account."""

    account: str | None = None
    region: str | None = None


class Artifacts(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Buckets of model artifacts with their KMS keys, and how artifacts are hashed.

    Up to a size, the function hashes an artifact itself; a job hashes larger ones. `keep_copy`: also run the service's
    own image on a copy that nobody can change, as is always done for other images.
    """

    buckets: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    region: str | None = None
    hash_in_function_up_to_gb: Annotated[float, Meta(ge=0.0)] = 10.0
    hash_instance_type: str = "ml.m5.xlarge"
    keep_copy: bool = False


class Monitor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A schedule of SageMaker Model Monitor (`*` as wildcard); `bucket` holds its reports."""

    schedule: str
    group: str
    environment: str
    bucket: str | None = None


class Retraining(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A SageMaker pipeline that drift starts; parameters can use {group}, {environment}, {version}, {input}."""

    pipeline: str
    parameters: dict[str, str] = {}
    again_after: str = "24h"

    @property
    def pause(self) -> timedelta:
        """`again_after` as a duration."""
        return duration(self.again_after)


class Drift(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Conditions under which a live model's input counts as drifting, and the actions that follow."""

    largest_psi: Annotated[float, Meta(gt=0.0)] | None = 0.25
    min_records: Annotated[int, Meta(ge=1)] = 50
    environments: tuple[str, ...] = ()
    mail: bool = True
    ask_to_roll_back: bool = True
    monitors: tuple[Monitor, ...] = ()
    retraining: dict[str, Retraining] = {}


class Channel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A notification channel besides mail: an SNS topic, or a chat webhook with its address in a secret."""

    topic: str | None = None
    webhook_secret: str | None = None
    style: Literal["slack", "teams"] = "slack"
    events: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("*",)

    def tells(self, kind: str, group: str) -> bool:
        """Return True if events of this kind about this group go to the channel."""
        wanted = not self.events or kind in self.events
        return wanted and any(fnmatch.fnmatchcase(group, pattern) for pattern in self.groups)


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole `promotion.toml`."""

    mail: Mail
    identity: Identity
    environments: tuple[Environment, ...]
    groups: tuple[str, ...] = ("*",)
    groups_override: dict[str, GroupOverride] = {}
    operators: Operators = msgspec.field(default_factory=Operators)
    break_glass: BreakGlass | None = None
    freeze: tuple[FreezeWindow, ...] = ()
    registry: Registry = msgspec.field(default_factory=Registry)
    signing: Signing = Signing()
    artifacts: Artifacts = msgspec.field(default_factory=Artifacts)
    inference: Inference = msgspec.field(default_factory=Inference)
    web: Web = msgspec.field(default_factory=Web)
    drift: Drift = msgspec.field(default_factory=Drift)
    history: HistorySettings = HistorySettings()
    channels: dict[str, Channel] = {}
    bypass: Literal["report", "revert"] = "revert"
    ledger_table: str | None = None
    retired: tuple[str, ...] = ()

    def governs(self, group: str) -> bool:
        """Return True if this service governs the model package group."""
        return any(fnmatch.fnmatchcase(group, pattern) for pattern in self.groups)

    def base_environment(self, name: str) -> Environment:
        """Return an environment without overrides for groups.

        Raises:
            Invalid: there is no environment of this name.
        """
        for environment in self.environments:
            if environment.name == name:
                return environment
        known = ", ".join(self.environment_names)
        raise Invalid("environment", f"there is no environment {name!r}; there are {known}.")

    def environment(self, name: str, group: str) -> Environment:
        """Return an environment for one model package group, overrides applied in the order of the file.

        Raises:
            Invalid: there is no environment of this name.
        """
        environment = self.base_environment(name)
        for pattern, override in self.groups_override.items():
            if fnmatch.fnmatchcase(group, pattern) and name in override.environments:
                given = msgspec.structs.asdict(override.environments[name])
                environment = msgspec.structs.replace(
                    environment, **{key: value for key, value in given.items() if value is not None}
                )
        return environment

    @property
    def mail_domains(self) -> frozenset[str]:
        """Domains (lower case) of allowed recipients: `[advanced.mail] domains`, else of all addresses in the file."""
        if self.mail.domains:
            return frozenset(domain.lower() for domain in self.mail.domains)
        named = [self.mail.sender, self.mail.reply_to or ""]
        for environment in self.environments:
            named += [*environment.approvers, *environment.stakeholders]
        for override in self.groups_override.values():
            for changed in override.environments.values():
                named += [*(changed.approvers or ()), *(changed.stakeholders or ())]
        return frozenset(address.rpartition("@")[2].rstrip(">").lower() for address in named if "@" in address)

    def may_write_to(self, address: str) -> bool:
        """Return True if mail may go to an address that a data scientist named."""
        return "@" in address and address.rpartition("@")[2].lower() in self.mail_domains

    @property
    def data_buckets(self) -> tuple[str, ...]:
        """Buckets that inputs and references of any group are read from, and that manual runs write to."""
        overrides = [override.inference for override in self.groups_override.values()]
        places = [place for each in overrides for place in (each.input, each.references) if place is not None]
        named = {place.removeprefix("s3://").partition("/")[0] for place in places} - {"", "{bucket}"}
        return tuple(sorted({*self.inference.data_buckets, *named}))

    @property
    def output_keys(self) -> tuple[str, ...]:
        """KMS keys that encrypt the output of the environments' runs."""
        keys = {self.at(each.name).inference.output_key for each in self.environments}
        return tuple(sorted(key for key in keys if key))

    def evaluation(self, group: str) -> Evaluation:
        """Return a group's evaluation settings: `[inference]`, then the overrides in file order."""
        found = Evaluation(input=self.inference.input, references=self.inference.references)
        for pattern, override in self.groups_override.items():
            if fnmatch.fnmatchcase(group, pattern):
                given = msgspec.structs.asdict(override.inference)
                found = msgspec.structs.replace(
                    found, **{key: value for key, value in given.items() if value is not None}
                )
        return found

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names of the environments, from first to last."""
        return tuple(environment.name for environment in self.environments)

    @property
    def cross_account(self) -> dict[str, str]:
        """Accounts of the environments that have one of their own, by name."""
        return {
            environment.name: environment.account
            for environment in self.environments
            if environment.account is not None and environment.account != self.registry.account
        }

    def at(self, name: str) -> Config:
        """Return the configuration for one environment's jobs.

        Jobs in an account of their own don't use the network of `[inference]`, which is in the registry's account.
        """
        environment = self.base_environment(name)
        own = {
            field: getattr(environment, field) for field in ("subnets", "security_groups", "volume_key", "output_key")
        }
        given = {field: value for field, value in own.items() if value is not None}
        if name in self.cross_account:
            given = {"subnets": (), "security_groups": (), **given}
        return msgspec.structs.replace(self, inference=msgspec.structs.replace(self.inference, **given))

    def previous(self, name: str) -> str | None:
        """Return the environment before `name`; None for the first."""
        at = self.environment_names.index(name)
        return self.environment_names[at - 1] if at else None

    def next(self, name: str) -> str | None:
        """Return the environment after `name`; None for the last."""
        at = self.environment_names.index(name) + 1
        return self.environment_names[at] if at < len(self.environments) else None

    @property
    def drift_environments(self) -> tuple[str, ...]:
        """Environments in which drift is monitored; the last one by default."""
        return self.drift.environments or self.environment_names[-1:]

    def retraining(self, group: str) -> Retraining | None:
        """Return the pipeline that drift of a group's model starts: the first whose pattern matches."""
        for pattern, retraining in self.drift.retraining.items():
            if fnmatch.fnmatchcase(group, pattern):
                return retraining
        return None

    def policy(self) -> dict[str, Any]:
        """Return all settings that affect decisions, as plain data without defaults."""
        policy = {
            "environments": self.environments,
            "groups_override": self.groups_override,
            "break_glass": self.break_glass,
            "freeze": self.freeze,
            "operators": self.operators,
            "bypass": self.bypass,
            "reporters": self.inference.reporters,
        }
        plain = {key: value for key, value in without_defaults(policy).items() if value or key != "reporters"}
        # The settings of an endpoint don't affect decisions.
        environments = [{k: v for k, v in each.items() if k != "endpoint"} for each in plain["environments"]]
        return {**plain, "environments": environments}

    def policy_digest(self) -> str:
        """Return the SHA-256, hex, of the canonical JSON of `policy()`."""
        return hashlib.sha256(msgspec.json.encode(self.policy(), order="sorted")).hexdigest()
