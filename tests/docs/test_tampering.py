"""docs/security.md has the line that `verify` prints for each kind of tampering, as it prints it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import FakeService
from tests.rules.test_verify import LEDGER, PROJECTIONS, anchor

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
_DIGEST_OR_ID = re.compile(r"[0-9a-f]{12,64}")


@pytest.mark.parametrize("tamper", [*PROJECTIONS, *LEDGER])
def test_the_documented_line_is_the_printed_one(tamper: Callable[[FakeService], str]) -> None:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    fake.anchors.append(anchor(fake))
    fake.promote(2)
    fake.project()
    tamper(fake)
    line = _DIGEST_OR_ID.sub("…", fake.lines()[0])
    assert f"| `{line}` |" in DOCUMENT
