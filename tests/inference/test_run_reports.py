"""What a direct run says where it can't run, or can't report that it ran."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from inference.__main__ import main
from inference.batch import run, storage
from promotion.errors import IntegrityError

MODEL = SimpleNamespace(
    approval_id="approval-9", model_package_group="logs", model_package_version=3, model_package_arn="arn",
    environment="dev", sequence=12, containers=[SimpleNamespace(), SimpleNamespace()],
)  # fmt: skip
RUN = ["run", "logs", "dev", "--input", "in.jsonl", "--output", "out", "--quiet"]


class Service:
    """Parameter Store without the service's parameter, and a bus that answers `answer`."""

    class exceptions:  # noqa: N801
        class ParameterNotFound(Exception):
            pass

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def get_parameter(self, **_: object) -> None:
        raise self.exceptions.ParameterNotFound

    def put_events(self, **_: object) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A run that has its results and has to be reported."""
    monkeypatch.setattr(run, "resolve", lambda *_: MODEL)
    monkeypatch.setattr(run, "run_once", lambda *_: {"metrics": {}})
    return monkeypatch


def answers(patch: pytest.MonkeyPatch, answer: Any) -> None:
    patch.setattr(storage, "client", lambda _: Service(answer))


def test_a_model_of_several_containers_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "resolve", lambda *_: MODEL)
    assert main([*RUN, "--no-event"], {}) == 2
    assert "containers: a direct run takes one container, and this model is a pipeline of 2" in capsys.readouterr().err


def test_without_a_service_a_run_asks_for_the_bus(ran: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers(ran, None)
    assert main(RUN, {}) == 2
    assert "--event-bus: is not given and there is no /promotion/_service" in capsys.readouterr().err


def test_a_report_that_the_bus_did_not_take_fails_the_run(
    ran: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(ran, {"FailedEntryCount": 1, "Entries": [{"ErrorMessage": "too late"}]})
    assert main([*RUN, "--event-bus", "bus"], {}) != 0
    assert "The run's report was not taken: too late" in capsys.readouterr().err


def test_a_bus_that_is_down_is_not_taken_for_one_that_denies(ran: pytest.MonkeyPatch) -> None:
    answers(ran, ClientError({"Error": {"Code": "InternalException", "Message": "down"}}, "PutEvents"))
    with pytest.raises(ClientError, match="InternalException"):
        main([*RUN, "--event-bus", "bus"], {})


def test_a_failure_that_can_not_be_reported_is_still_the_runs_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def forged(*_: object) -> None:
        raise IntegrityError("the record is forged")

    monkeypatch.setattr(run, "resolve", forged)
    answers(monkeypatch, ClientError({"Error": {"Code": "InternalException", "Message": "down"}}, "PutEvents"))
    assert main([*RUN, "--event-bus", "bus"], {}) == 4
    assert "the record is forged" in capsys.readouterr().err
    assert "the failure could not be reported" in caplog.text
    assert "InternalException" in caplog.text


@pytest.mark.parametrize("given", ["/caches", ""])
def test_artifacts_are_kept_in_the_users_cache(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", "/home/ann")
    assert run.default_cache() == Path(given or "/home/ann/.cache") / "promotion" / "artifacts"
