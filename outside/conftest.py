"""No real AWS in reach, as in tests/."""

from __future__ import annotations

from tests import conftest as closed_door

__all__ = ["closed_door"]
