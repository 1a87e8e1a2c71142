"""Cases in which a person has to sign in again before a decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from promotion.config.settings import Decision
from promotion.domain.freshness import demands, too_old
from promotion.domain.people import Authentication
from tests.fakes import BEGINNING

NOW = BEGINNING


def judged(decision: Decision, *, age: timedelta = timedelta(0), for_this: bool = True, **how: Any) -> str:
    """Why a sign-in of that age is too old, with more of its claims in `how`."""
    found = Authentication(issuer="https://x", subject="ann", issued_at=NOW - age, **how)
    return too_old(found, decision, now=NOW, made_for_this=for_this)


def test_a_sign_in_decides_for_fifteen_minutes_unless_told_otherwise() -> None:
    assert judged(Decision(), age=timedelta(minutes=15), for_this=False) == ""
    assert "15m ago" in judged(Decision(), age=timedelta(minutes=15, seconds=1), for_this=False)


def test_seconds_will_do() -> None:
    assert judged(Decision(fresh_within="5s"), age=timedelta(seconds=5)) == ""
    assert judged(Decision(fresh_within="5s"), age=timedelta(seconds=6))


def test_with_zero_each_decision_has_a_sign_in_of_its_own() -> None:
    every = Decision(fresh_within="0s")
    assert judged(every) == ""
    assert "a sign-in of its own" in judged(every, for_this=False)


def test_a_session_that_does_not_say_when_decides_nothing() -> None:
    assert too_old(None, Decision(), now=NOW, made_for_this=True)
    silent = Authentication(issuer="https://x", subject="ann")
    assert too_old(silent, Decision(), now=NOW, made_for_this=True)


def test_credentials_have_to_have_been_entered_lately_where_that_is_asked_for() -> None:
    again = Decision(reauthenticate=True)
    assert "auth_time" in judged(again)
    assert judged(again, auth_time=NOW - timedelta(minutes=14)) == ""
    assert "too long ago" in judged(again, auth_time=NOW - timedelta(minutes=16))
    soon = Decision(reauthenticate=True, fresh_within="30s")
    assert judged(soon, auth_time=NOW - timedelta(minutes=4)) == "", "never less than five minutes"
    assert "too long ago" in judged(soon, auth_time=NOW - timedelta(minutes=6))
    each = Decision(reauthenticate=True, fresh_within="0s")
    assert judged(each, auth_time=NOW - timedelta(seconds=1), for_this=False), "one login serves one decision"


@pytest.mark.parametrize(
    ("how", "strong"),
    [
        ({"acr": "loa-2"}, True),
        ({"acr": "1", "amr": ("pwd", "mfa")}, True),
        ({"acr": "1", "amr": ("pwd",)}, False),
        ({}, False),
    ],
)
def test_a_step_up_is_checked_by_acr_or_amr(how: dict[str, Any], strong: bool) -> None:
    assert (judged(Decision(acr_values=("loa-2", "mfa")), **how) == "") is strong


def test_the_provider_is_asked_for_what_is_checked() -> None:
    assert demands(Decision()) == {}
    assert demands(Decision(reauthenticate=True, acr_values=("a", "b"))) == {
        "prompt": "login",
        "max_age": "0",
        "acr_values": "a b",
    }
