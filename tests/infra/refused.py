"""Refusals of a deployment, in the process of the test: app.py prints them and exits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.assembly import assemble
from promotion import names
from promotion.errors import Invalid


def refusal(config: Path, *, prefix: str | None = None) -> str:
    """Return the error with which the app refuses to be assembled; the test's end restores the environment."""
    os.environ[names.CONFIG] = str(config)
    os.environ[names.PREFIX] = prefix or names.DEFAULT_PREFIX
    with pytest.raises(Invalid) as refused:
        assemble()
    return str(refused.value)
