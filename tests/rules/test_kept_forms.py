"""A form is kept in a cookie while its person signs in again, with the longest reason that can be recorded."""

from __future__ import annotations

import random
import string
from datetime import UTC, datetime, timedelta

import pytest

from promotion.ledger.append import LONGEST_REASON_BYTES, checked_reason
from promotion.links.tokens import LONGEST_KEPT, LONGEST_TOKEN, Keyring

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "each"),
    [(0x23, 0x5B, 1), (0xA1, 0x7FF, 2), (0x4E00, 0x9FFF, 3), (0x10000, 0x10FFFF, 4)],
    ids=["ascii", "latin", "chinese", "emoji"],
)
def test_the_longest_reason_of_any_script_fits(first: int, last: int, each: int) -> None:
    """Characters at random pack worst."""
    drawn = random.Random(1)
    reason = "".join(chr(drawn.randint(first, last)) for _ in range(LONGEST_REASON_BYTES // each))
    assert checked_reason(reason) == reason
    path = "".join(drawn.choices(string.ascii_letters, k=LONGEST_TOKEN))
    fields = {
        "verdict": "Approved", "reason": reason, "break_glass": "yes", "path": f"/approvals/{path}/again",
        "at": "1796000000", "session": "0123456789abcdef", "entered_at": "1796000000.123",
    }  # fmt: skip
    keys = Keyring(["k" * 32])
    cookie = keys.kept_form(fields, NOW + timedelta(minutes=30))
    assert len(cookie) <= LONGEST_KEPT
    assert keys.form_kept(cookie, now=NOW) == fields
