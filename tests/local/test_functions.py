"""A function of the local service: what ends or is too slow fails, by name, and the next event has another process."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from coverage import Coverage, CoverageData

from local.children import Children, Ending, describe
from local.runtime.function import Function, Outcome, Place, Settings
from local.runtime.runtime_api import Invocation, RuntimeApi
from local.waiting import until

HANDLER = """
import os, signal

def handler(event, context):
    if event == "end":
        os.kill(os.getpid(), 9)
    if event == "hang":
        signal.pause()
    return [event, os.getpid()]
"""


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.stop_all()


CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_session_token": "test"}


def made(
    children: Children,
    tmp_path: Path,
    credentials: Callable[[str, str], Mapping[str, str]] = lambda *_: CREDENTIALS,
    retries: int = 2,
) -> Function:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "module.py").write_text(HANDLER)
    (tmp_path / "clock").write_text("0.0")
    place = Place(tmp_path, tmp_path / "logs", tmp_path / "clock", "http://127.0.0.1:9", credentials)
    settings = Settings(
        name="f", arn="arn:aws:lambda:us-east-1:123456789012:function:f", handler="pkg.module.handler",
        role_arn="arn:aws:iam::123456789012:role/f", timeout_seconds=1, memory_mb=128, environment={},
        retries=retries,
    )  # fmt: skip
    return Function(settings, place, children)


@pytest.fixture
def function(children: Children, tmp_path: Path) -> Function:
    return made(children, tmp_path)


def invoke(function: Function, event: str) -> tuple[Any, str | None]:
    outcome = function.invoke(json.dumps(event).encode())
    return json.loads(outcome.payload), outcome.error


@pytest.mark.parametrize(
    ("event", "kind", "says"),
    [("end", "Runtime.ExitError", "pkg.module.handler ended"), ("hang", "Sandbox.Timedout", "after 1.00 seconds")],
)
def test_an_event_that_no_process_answers_fails(function: Function, event: str, kind: str, says: str) -> None:
    (first, before), _ = invoke(function, "x")
    failed, error = invoke(function, event)
    assert (failed["errorType"], error) == (kind, "Unhandled")
    assert says in failed["errorMessage"]
    (second, after), error = invoke(function, "y")
    assert (first, second, error) == ("x", "y", None)
    assert before != after


def wait_for_end(process: int) -> None:
    until("its end", lambda: not Path(f"/proc/{process}").exists())


def test_processes_that_ended_idle_take_no_place(function: Function) -> None:
    for _ in range(Place.most_processes + 1):
        (_, process), error = invoke(function, "x")
        assert error is None
        os.kill(process, signal.SIGKILL)
        wait_for_end(process)


def test_an_event_that_failed_each_time_is_handed_over_with_its_outcome(children: Children, tmp_path: Path) -> None:
    failed: list[tuple[bytes, Outcome]] = []
    function = made(children, tmp_path, retries=0)
    outcome = function.invoke_later(b'"end"', lambda *given: failed.append(given)).result()
    assert outcome is not None
    assert outcome.error == "Unhandled"
    assert failed == [(b'"end"', outcome)]


def test_an_answer_that_was_cut_off_is_none() -> None:
    api, invocation = RuntimeApi(), Invocation(b"{}", "arn", 1)
    api.offer(invocation)
    url, (host, port) = f"http://{api.address}/2018-06-01/runtime/invocation", api.address.split(":")
    taken = httpx.get(f"{url}/next", timeout=60).headers["Lambda-Runtime-Aws-Request-Id"]
    with socket.create_connection((host, int(port)), timeout=60) as process:
        process.sendall(f"POST /{taken}/response HTTP/1.1\r\nContent-Length: 9\r\n\r\nnull".encode())
        process.shutdown(socket.SHUT_WR)  # as the kernel does when the process is killed
        assert process.recv(1) == b""
    assert not invocation.done.is_set()
    assert httpx.post(f"{url}/{taken}/response", content=b"null", timeout=60).status_code == 202
    assert (invocation.answer, invocation.error) == (b"null", None)
    api.close()


def test_a_process_that_is_killed_as_it_answers_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    before, api = {*threading.enumerate()}, RuntimeApi()
    host, port = api.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as process:
        process.sendall(b"POST /x/response HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert process.recv(12) == b"HTTP/1.1 100"
        process.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes by a reset
    until("its end", lambda: not any("process_request" in new.name for new in {*threading.enumerate()} - before))
    api.close()
    assert capfd.readouterr().err == ""


def test_a_handler_that_is_not_there_fails_as_it_starts(function: Function, tmp_path: Path) -> None:
    (tmp_path / "pkg" / "module.py").write_text("raise ValueError('broken as it starts')")
    failed, error = invoke(function, "x")
    assert error == "Unhandled"
    assert "broken as it starts" in failed["errorMessage"]


def test_a_process_that_can_not_start_takes_no_place(children: Children, tmp_path: Path) -> None:
    granted = [False]

    def credentials(*_: str) -> dict[str, str]:
        if not granted[0]:
            raise PermissionError("the role can't be assumed")
        return CREDENTIALS

    function = made(children, tmp_path, credentials)
    for _ in range(Place.most_processes):
        with pytest.raises(PermissionError):
            invoke(function, "x")
    granted[0] = True
    assert invoke(function, "y")[1] is None


@pytest.mark.parametrize(("code", "says"), [(None, "still running"), (-9, "killed by signal 9"), (3, "exit status 3")])
def test_a_processs_end_is_described(code: int | None, says: str) -> None:
    process: Any = SimpleNamespace(poll=lambda: code)
    assert describe(process) == says


def test_what_waits_for_a_process_ends_with_the_service(children: Children, tmp_path: Path) -> None:
    function = made(children, tmp_path)
    with ThreadPoolExecutor() as callers:
        calls = [callers.submit(invoke, function, "hang") for _ in range(2 * Place.most_processes + 1)]
        function.stop()
        children.stop_all()
        ends = [call.exception() or call.result()[1] for call in calls]
    assert all(isinstance(end, Ending) or end == "Unhandled" for end in ends)


def test_a_function_is_measured_by_coverage_if_its_service_is(
    function: Function, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Coverage(data_file=str(tmp_path / "measured"), config_file=False)
    for name in ("run:parallel", "run:sigterm"):
        measured.set_option(name, True)
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", measured.config.serialize())
    assert invoke(function, "x")[1] is None
    children.stop_all()
    [file] = tmp_path.glob("measured.*")
    data = CoverageData(str(file))
    data.read()
    assert data.lines(str(tmp_path / "pkg" / "module.py")) == [2, 4, 5, 7, 9]
