"""Adapters: one module for each AWS service, each behind a Protocol of a lower layer."""

from __future__ import annotations

from typing import Any, TypeAlias

# boto3 makes its clients at run time and no type stubs of its pinned version are published.
Client: TypeAlias = Any
