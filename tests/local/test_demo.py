"""The demo, as far as it waits for its service; its stories run by `make demo`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from local.demo import is_up


@pytest.mark.parametrize("error", [requests.ConnectionError, requests.ReadTimeout, requests.ConnectTimeout])
def test_a_service_that_does_not_answer_yet_is_waited_for(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unanswered(*_: object, **__: object) -> requests.Response:
        raise error

    monkeypatch.setattr(requests, "get", unanswered)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as service:
        assert not is_up(service, "http://127.0.0.1:1", tmp_path)
        service.terminate()
