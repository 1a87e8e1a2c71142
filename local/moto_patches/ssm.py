"""Parameter Store: AllowedPattern, sizes and `{{` are checked; a deleted name can't be used for 30 seconds."""

from __future__ import annotations

import re
import time
from typing import Any

from moto.ssm.exceptions import SSMException, ValidationException
from moto.ssm.models import SimpleSystemManagerBackend

REST_SECONDS = 30
_LARGEST = {"Standard": 4096, "Advanced": 8192, "Intelligent-Tiering": 8192}
_MOST_LEVELS = 15


class _PatternMismatch(SSMException):  # type: ignore[misc,unused-ignore]
    code = "ParameterPatternMismatchException"


class _TooDeep(SSMException):  # type: ignore[misc,unused-ignore]
    code = "HierarchyLevelLimitExceededException"


class _TooSoon(SSMException):  # type: ignore[misc,unused-ignore]
    code = "InternalServerError"


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    put = SimpleSystemManagerBackend.put_parameter
    delete = SimpleSystemManagerBackend.delete_parameter

    def put_parameter(
        self: Any,
        name: str,
        description: str,
        value: str,
        parameter_type: str,
        allowed_pattern: str,
        keyid: str,
        overwrite: bool,
        tags: Any,
        data_type: str,
        tier: str | None = None,
        policies: str | None = None,
    ) -> Any:
        # A direct lookup of a missing name would create it without a value.
        versions = self._parameters.get(name, [])
        earlier = versions[-1] if versions else None
        pattern = allowed_pattern if allowed_pattern is not None else getattr(earlier, "allowed_pattern", None)
        if pattern and value and not re.fullmatch(pattern, value):
            raise _PatternMismatch(f"Parameter value, cannot be validated against allowedPattern: {pattern}")
        if value and "{{" in value:
            raise ValidationException("Parameter value can't nest another parameter: don't use \"{{}}\" in the value.")
        kind = tier or getattr(earlier, "tier", None) or "Standard"
        if value and len(value.encode()) > _LARGEST[kind]:
            raise ValidationException(
                f"{kind} tier parameters support a maximum parameter value of {_LARGEST[kind]} characters."
            )
        if name.strip("/").count("/") >= _MOST_LEVELS:
            raise _TooDeep(f"A parameter name has at most {_MOST_LEVELS} levels.")
        rested = time.time() - _deleted(self).get(name, 0.0)
        if earlier is None and 0 <= rested < REST_SECONDS:
            raise _TooSoon(
                f"{name} was deleted {rested:.0f} seconds ago; wait {REST_SECONDS} before its name is used again."
            )
        return put(
            self,
            name,
            description,
            value,
            parameter_type,
            allowed_pattern,
            keyid,
            overwrite,
            tags,
            data_type,
            tier=tier,
            policies=policies,
        )

    def delete_parameter(self: Any, name: str) -> None:
        delete(self, name)
        _deleted(self)[name] = time.time()

    SimpleSystemManagerBackend.put_parameter = put_parameter
    SimpleSystemManagerBackend.delete_parameter = delete_parameter


def _deleted(backend: Any) -> dict[str, float]:
    """Return the time of deletion by name, kept with the backend so that a reset clears it."""
    found: dict[str, float] = backend.__dict__.setdefault("deleted_parameters", {})
    return found
