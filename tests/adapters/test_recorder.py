"""The client of the function `record`: what the function refused or broke on is raised here, as what it was."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from lambdas.handlers import record
from promotion.aws.recorder import Recorder
from promotion.errors import Conflict, Invalid, PromotionError
from promotion.workflows.commands import RecordInference, message
from tests.fakes import GROUP, FakeService, a_run, as_client, raises


class Answers:
    """Lambda, with one answer of the function."""

    def __init__(self, result: object, **more: str) -> None:
        self._answer = {"Payload": io.BytesIO(json.dumps(result).encode()), **more}

    def invoke(self, **given: Any) -> dict[str, Any]:
        return self._answer


def recorded(answers: Answers) -> object:
    return Recorder(as_client(answers), "record").record(RecordInference(group=GROUP, version=1, evidence=a_run("dev")))


def test_a_refused_field_is_named() -> None:
    with pytest.raises(Invalid, match="it is no version") as refused:
        recorded(Answers({"field": "version", "error": "it is no version."}))
    assert refused.value.field == "version"


def test_another_refusal_has_the_functions_words() -> None:
    with pytest.raises(PromotionError, match="not approved") as refused:
        recorded(Answers({"error": "not approved."}))
    assert not isinstance(refused.value, Invalid)


def test_a_function_that_broke_is_no_refusal() -> None:
    broken = {"errorType": "Runtime.ExitError", "errorMessage": "exit status 1"}
    with pytest.raises(RuntimeError, match=r"the function `record` failed: Runtime\.ExitError: exit status 1"):
        recorded(Answers(broken, FunctionError="Unhandled"))


@pytest.mark.parametrize(("version", "refused"), [(1, False), (7, True)])
def test_an_append_that_loses_every_race_is_an_error_and_no_refusal(
    monkeypatch: pytest.MonkeyPatch, version: int, refused: bool
) -> None:
    """A caller gives up what is refused; only an error has the result of a run delivered again."""
    fake = FakeService()
    fake.promote(1, to="dev")
    monkeypatch.setattr(record, "signing", lambda: fake.context)
    monkeypatch.setattr(fake.ledger, "append", raises(Conflict("somebody appended first.")))
    event = json.loads(message(RecordInference(group=GROUP, version=version, evidence=a_run("dev"))))
    if refused:
        assert record.handler(event, None)["field"] == "version"
    else:
        with pytest.raises(Conflict, match="somebody appended first"):
            record.handler(event, None)
