"""Resources of the template that moto doesn't implement: functions, their permissions, event sources, routes."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.runtime.function import Function


@dataclass(frozen=True)
class Permission:
    """A statement of a function's resource policy: which AWS service may invoke it, and for which source."""

    function_arn: str
    principal: str
    source_arn: str | None = None


@dataclass(frozen=True)
class EventSource:
    """An event source mapping, as in AWS::Lambda::EventSourceMapping."""

    function_arn: str
    source_arn: str
    batch_size: int
    filters: tuple[Mapping[str, Any], ...] = ()
    reports_item_failures: bool = False
    maximum_concurrency: int | None = None
    retries: int | None = None
    failure_destination: str | None = None


@dataclass(frozen=True)
class Route:
    """A route of the HTTP API: method (or ANY) and path, with `{name}` and `{name+}` parts."""

    method: str
    path: str
    function_arn: str
    authorization: str = "NONE"


@dataclass
class Deployment:
    """The deployed stack."""

    functions: dict[str, Function] = field(default_factory=dict)
    permissions: list[Permission] = field(default_factory=list)
    event_sources: list[EventSource] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    api_id: str = ""
    api_stage: str = "$default"

    def function(self, name_or_arn: str) -> Function | None:
        """Return a function by name, ARN, or ARN with a version or alias."""
        if name_or_arn.startswith("arn:"):
            return self.functions.get(":".join(name_or_arn.split(":")[:7]))
        name = name_or_arn.split(":")[0]
        return next((f for f in self.functions.values() if f.settings.name == name), None)

    def may_invoke(self, service: str, source_arn: str, function_arn: str) -> bool:
        """Return True if the function's policy lets an AWS service invoke it for `source_arn`."""
        return any(
            permission.function_arn == function_arn
            and permission.principal == service
            and (permission.source_arn is None or fnmatch.fnmatchcase(source_arn, permission.source_arn))
            for permission in self.permissions
        )
