"""Settings as the ledger records them, without those at their default.

A release that adds a setting must not change the digest of a policy that nobody changed. For this reason the default of
an existing setting never changes either; tests/rules/test_format.py pins the defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec


def without_defaults(value: object) -> Any:
    """Return `value` as plain data, without the fields of each struct that equal their defaults."""
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: without_defaults(found)
            for field in _fields(type(value))
            if (found := getattr(value, field.name)) != _default(field)
        }
    if isinstance(value, dict):
        return {key: without_defaults(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_defaults(each) for each in value]
    return msgspec.to_builtins(value)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # msgspec evaluates the annotations of a class anew each time: a millisecond for a policy, in each append.
    return msgspec.structs.fields(kind)


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default
