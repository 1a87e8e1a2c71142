"""Commands of the service's own functions: one struct for each operation, decoded and executed here.

None of them decides anything. A command is sent as `{"operation": …, "arguments": {…}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

import msgspec
from msgspec import Struct

from promotion.domain.model import Container, EndpointState, EnvironmentState, Evidence, Package
from promotion.errors import Invalid
from promotion.ledger.append import Context, Receipt
from promotion.workflows import decisions, drift, endpoints, operations, registry_changes, runs, unmeasured


class _Command(Struct, frozen=True, kw_only=True, tag_field="operation"):
    pass


class Register(_Command, frozen=True, kw_only=True, tag="register"):
    """A package was registered; if an operator requested it, `changed` is the note that its approval request shows."""

    package: Package
    evidence: Evidence
    unasked: str = ""
    changed: str = ""


class RecordRemoved(_Command, frozen=True, kw_only=True, tag="removed"):
    """A version pending approval is no longer in the registry."""

    group: str
    version: int


class RecordArtifact(_Command, frozen=True, kw_only=True, tag="artifact"):
    """An artifact was hashed, or hashing failed; with `hashing`, hashing is retried."""

    group: str
    version: int
    containers: tuple[Container, ...]
    problem: str = ""
    hashing: bool = False


class RecordInference(_Command, frozen=True, kw_only=True, tag="inference"):
    """An inference run of a version ended."""

    group: str
    version: int
    evidence: Evidence


class RecordFailure(_Command, frozen=True, kw_only=True, tag="failure"):
    """A run failed before its version was read; `broken`: the integrity check failed."""

    group: str
    environment: str
    run_id: str
    problem: str
    broken: bool


class RecordUnmeasured(_Command, frozen=True, kw_only=True, tag="unmeasured"):
    """A version can't be measured in an environment because there is no input."""

    group: str
    environment: str
    version: int
    reason: str


class KeepTime(_Command, frozen=True, kw_only=True, tag="keep_time"):
    """A pending request may be due for a reminder or for its expiry."""

    environment: EnvironmentState


class RecordBypass(_Command, frozen=True, kw_only=True, tag="bypass"):
    """A version's approval status was set outside this service, at `at`."""

    group: str
    version: int
    status: str
    by: str
    at: datetime | None = None


class RecordMonitoring(_Command, frozen=True, kw_only=True, tag="monitoring"):
    """A monitor found `violations`, or none."""

    group: str
    environment: str
    source: str
    violations: int
    reason: str
    report: str = ""


class RecordRetraining(_Command, frozen=True, kw_only=True, tag="retraining"):
    """A retraining pipeline was started."""

    group: str
    environment: str
    version: int
    pipeline: str
    execution: str


class RecordEndpoint(_Command, frozen=True, kw_only=True, tag="endpoint"):
    """A real-time endpoint was observed in the state `endpoint`."""

    group: str
    environment: str
    version: int
    endpoint: EndpointState


Command = (
    Register
    | RecordRemoved
    | RecordArtifact
    | RecordInference
    | RecordFailure
    | RecordUnmeasured
    | KeepTime
    | RecordBypass
    | RecordMonitoring
    | RecordRetraining
    | RecordEndpoint
)
OPERATIONS = frozenset(str(each.__struct_config__.tag) for each in Command.__args__)


def message(command: Command) -> bytes:
    """A command as it is sent."""
    arguments = msgspec.to_builtins(command)
    return msgspec.json.encode({"operation": arguments.pop("operation"), "arguments": arguments})


def read(event: Mapping[str, object]) -> Command:
    """Decode a command from a function's input.

    Raises:
        Invalid: it is not a command, a field is missing, or a field has the wrong type.
    """
    operation, arguments = event.get("operation"), event.get("arguments", {})
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise Invalid("operation", f"{str(operation)[:40]!r} is nothing that a function may record.")
    if not isinstance(arguments, Mapping):
        raise Invalid("arguments", "they are a JSON object.")
    try:
        command: Command = msgspec.convert({**arguments, "operation": operation}, Command)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        raise Invalid(place.strip("`").removeprefix("$.") or str(operation), reason) from None
    return command


def dispatch(command: Command, context: Context) -> Receipt:
    """Execute a command.

    Raises:
        PromotionError: the command was refused; nothing was written.
    """
    c = command
    match c:
        case Register():
            if not context.config.governs(c.package.group):
                raise Invalid("model_package_group", f"{c.package.group} is not governed by this service.")
            return decisions.register(c.package, c.evidence, context=context, unasked=c.unasked, changed=c.changed)
        case RecordRemoved():
            return registry_changes.record_removed(c.group, c.version, context=context)
        case RecordArtifact():
            return decisions.record_artifact(
                c.group, c.version, c.containers, c.problem, context=context, hashing=c.hashing
            )
        case RecordInference():
            return runs.record_inference(c.group, c.version, c.evidence, context=context)
        case RecordFailure():
            return runs.record_failure(c.group, c.environment, c.run_id, c.problem, broken=c.broken, context=context)
        case RecordUnmeasured():
            return unmeasured.record_unmeasured(c.group, c.version, c.environment, c.reason, context=context)
        case KeepTime():
            return decisions.keep_time(c.environment, context=context)
        case RecordBypass():
            return operations.record_bypass(c.group, c.version, c.status, c.by, context=context, at=c.at)
        case RecordMonitoring():
            return drift.record_monitoring(
                c.group, c.environment, c.source, c.violations, c.reason, context=context, report=c.report
            )
        case RecordRetraining():
            return drift.record_retraining(c.group, c.environment, c.version, c.pipeline, c.execution, context=context)
        case RecordEndpoint():
            return endpoints.record_endpoint(c.group, c.environment, c.version, c.endpoint, context=context)
        case _:
            assert_never(c)
