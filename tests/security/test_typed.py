"""A refused form doesn't lose what somebody has typed, and shows nobody what another site had them post."""

from __future__ import annotations

import pytest

from tests.security.attacked import ANN, DEE, Attacked

TYPED = "Good on every slice but one, <b>tables</b>."
SHOWN = "Good on every slice but one, &lt;b&gt;tables&lt;/b&gt;."
FIELD = f">{SHOWN}</textarea>"
QUOTED = f'<h2>What you wrote</h2>\n<p class="prose" dir="auto">{SHOWN}</p>'
ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


def test_a_reason_that_is_too_long_is_there_to_be_shortened(attacked: Attacked) -> None:
    typed = "чужое " * 250
    answer = attacked.decide("open:1:dev:1", ANN, fields={"reason": typed})
    assert answer.status == 400
    assert "Nothing was recorded. Your reason can’t be kept: it is about " in answer.text
    assert f">{typed}</textarea>" in answer.text
    assert 'value="Approved"' in answer.text


def test_a_refusal_by_the_rules_keeps_what_was_typed(attacked: Attacked) -> None:
    answer = attacked.decide("shut:1:test:1", ANN, fields={"reason": TYPED})
    assert answer.status == 403
    assert "Nothing was recorded. A quality gate failed." in answer.text
    assert FIELD in answer.text


def test_asking_again_keeps_what_was_typed(attacked: Attacked) -> None:
    answer = attacked.post(f"{attacked.link('rejected:1:dev:1')}/again", ANN, {"reason": "x" * 2500})
    assert (answer.status, f">{'x' * 2500}</textarea>" in answer.text) == (400, True)


@pytest.mark.parametrize("asked", ["decided:1:dev:1", "superseded:1:dev:1"])
def test_a_reason_can_be_copied_if_nothing_is_left_to_decide(attacked: Attacked, asked: str) -> None:
    answer = attacked.decide(asked, ANN, fields={"reason": TYPED})
    assert (answer.status, QUOTED in answer.text) == (409, True)


def test_a_session_that_ended_meanwhile_loses_nothing(attacked: Attacked) -> None:
    answer = attacked.decide("open:1:dev:1", ANN, fields={"reason": TYPED}, headers={"Cookie": "session=over"})
    assert (answer.status, QUOTED in answer.text) == (401, True)
    answer = attacked.decide("open:1:dev:1", ANN, fields={"reason": TYPED}, csrf=attacked.csrf(DEE))
    assert (answer.status, QUOTED in answer.text) == (403, True)


def test_another_sites_form_is_shown_to_nobody(attacked: Attacked) -> None:
    for more in ({}, {"Cookie": "session=over"}):
        answer = attacked.decide("shut:1:test:1", ANN, fields={"reason": TYPED}, headers={**ELSEWHERE, **more})
        assert SHOWN not in answer.text
    answer = attacked.decide("shut:1:test:1", ANN, "Perhaps", fields={"reason": TYPED}, headers=ELSEWHERE)
    assert (answer.status, SHOWN in answer.text) == (400, False)


def test_scripts_get_the_error_and_not_a_page(attacked: Attacked) -> None:
    answer = attacked.decide("shut:1:test:1", ANN, fields={"reason": TYPED}, headers={"Accept": "application/json"})
    assert (answer.status, answer.document["error"]) == (403, "gate_shut")
    assert "reason" not in answer.document
