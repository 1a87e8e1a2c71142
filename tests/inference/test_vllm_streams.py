"""Streams of vLLM that end early, late or not at all, and a server that doesn't end."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from transformers import GenerationConfig

from inference.batch.opening import task_for
from inference.decoders import GenerationRequest, RequestHandle, TokenEvent
from inference.decoders.settings import Decoding
from inference.decoders.vllm import VllmEngine
from inference.errors import ModelBroken
from inference.models.loading import Loaded, load
from tests.inference.llamas import byte_tokenizer
from tests.inference.test_vllm import STANDIN

DONE = b"data: [DONE]\n\n"


class Process:
    """A server's process that ends only when it is killed."""

    def __init__(self) -> None:
        self.signals: list[str] = []

    def poll(self) -> int | None:
        return -9 if "kill" in self.signals else None

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None:
            raise subprocess.TimeoutExpired("vllm", timeout)
        return -9


def engine_at(port: int, process: Process) -> VllmEngine:
    loaded = SimpleNamespace(tokenizer=byte_tokenizer(), generation_config=GenerationConfig(eos_token_id=1))
    return VllmEngine(cast(Any, process), port, io.BytesIO(), cast(Loaded, loaded))


@pytest.fixture
def stream() -> Iterator[list[bytes]]:
    """What the server answers; its port is in the first place."""
    said: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"".join(said[1:]))

    server = HTTPServer(("127.0.0.1", 0), Handler)
    said.append(str(server.server_port).encode())
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield said
    server.shutdown()
    thread.join()
    server.server_close()


def chunk(tokens: list[int], reason: str | None = None) -> bytes:
    choice = {"token_ids": tokens, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def read(port: int) -> list[TokenEvent]:
    """All events of a text."""
    events: Queue[TokenEvent] = Queue()
    engine = engine_at(port, Process())
    prompt = GenerationRequest("fox", tuple(byte_tokenizer()("fox")["input_ids"]), Decoding(max_new_tokens=9), 1)
    engine.submit(RequestHandle(prompt, events.put))
    found = [events.get(timeout=60)]
    while found[-1].finish is None:
        found.append(events.get(timeout=60))
    engine.close()
    return found


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([], "vLLM said nothing"),
        ([DONE], "vLLM said nothing"),
        ([b'data: {"error": {"message": "no memory"}}\n\n'], "vLLM failed: ValueError"),
        ([b"data: {}\n\n"], "vLLM failed: KeyError"),
    ],
)
def test_a_stream_without_a_token_fails_its_text(said: list[bytes], error: str, stream: list[bytes]) -> None:
    stream.extend(said)
    [last] = read(int(stream[0]))
    assert (last.finish, last.error) == ("error", error)


@pytest.mark.parametrize(
    ("ending", "finish"),
    [
        ([chunk([], "stop"), DONE], "eos_token"),
        ([chunk([], "length"), DONE], "length"),
        ([DONE], "length"),
        ([b": a comment\n\n"], "length"),
    ],
)
def test_the_last_token_ends_the_text_also_where_its_reason_comes_alone_or_not_at_all(
    ending: list[bytes], finish: str, stream: list[bytes]
) -> None:
    fox = byte_tokenizer()("fox", add_special_tokens=False)["input_ids"]
    stream.extend([*(chunk([token]) for token in fox), *ending])
    events = read(int(stream[0]))
    assert [event.id for event in events] == fox
    assert (events[-1].finish, events[-1].generated_text) == (finish, "fox")


def test_a_server_that_does_not_end_is_killed() -> None:
    process = Process()
    engine_at(9, process).close()
    assert process.signals == ["terminate", "kill"]


def test_a_server_that_is_not_healthy_in_time_is_told_with_its_last_words(llama_folder: Path, tmp_path: Path) -> None:
    variables = {
        "SM_NUM_GPUS": "4", "VLLM_COMMAND": STANDIN, "VLLM_START_SECONDS": "0", "MAX_TOTAL_TOKENS": "128",
        "STANDIN_NOTES": str(tmp_path / "notes"),
    }  # fmt: skip
    loaded = load(llama_folder, environment=variables)
    with pytest.raises(ModelBroken, match=r"vLLM is not healthy in time\. It said last: nothing"):
        task_for(loaded, variables)
