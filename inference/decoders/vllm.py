"""Decoders by vLLM, in a separate process, behind the same interface: vLLM returns token ids, and all else is done here.

The client uses vLLM's OpenAI-compatible completions over HTTP on loopback. Prompts are sent as token ids, so that chat
templates and limits are applied only here, and closing a connection cancels its text.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import logging
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any

from inference.decoders import RequestHandle, TokenEvent, failed
from inference.decoders.settings import Limits
from inference.decoders.words import Detokenizers
from inference.engines import Description
from inference.errors import ModelBroken
from inference.models.loading import Loaded

# The variable with vLLM's command; a test sets a stand-in, and an image may set the path of its vLLM.
VLLM_COMMAND = "VLLM_COMMAND"
START_SECONDS = "VLLM_START_SECONDS"
# SageMaker's longest wait until a container is healthy.
_LONGEST_START = 3_600
_MOST_AT_ONCE = 256
_MODEL = "model"

log = logging.getLogger("inference")


class VllmEngine:
    """Continues texts by requests to a vLLM server; each text has its own connection and thread."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_file: IO[bytes], loaded: Loaded) -> None:
        self._process, self._port, self._log = process, port, log_file
        self._detokenizers = Detokenizers(loaded.tokenizer, loaded.generation_config)
        self._readers = ThreadPoolExecutor(_MOST_AT_ONCE, thread_name_prefix="vllm")
        self._changed = threading.Condition()
        self._open = 0
        self.description = Description("vllm", "cuda", "bfloat16")

    @classmethod
    def start(cls, loaded: Loaded, limits: Limits, *, gpus: int, environment: Mapping[str, str]) -> VllmEngine:
        """Start the server and wait until it is healthy.

        Raises:
            ModelBroken: vLLM is not installed, exits, or is not healthy in time; the error has its last output.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        named = environment.get(VLLM_COMMAND, "").strip()
        command = shlex.split(named) if named else [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        options = {
            "--model": str(loaded.folder), "--served-model-name": _MODEL, "--host": "127.0.0.1", "--port": str(port),
            "--tensor-parallel-size": str(gpus), "--max-model-len": str(limits.total_tokens),
        }  # fmt: skip
        # A file, not a pipe: the process would block on a full pipe that is not read.
        log_file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the server
        try:
            process = subprocess.Popen(
                [*command, *(part for option in options.items() for part in option)],
                stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT,
                env={**os.environ, **environment, "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
        except OSError as error:
            log_file.close()
            raise ModelBroken(f"vLLM does not start: {error}") from None
        engine = cls(process, port, log_file, loaded)
        # The server must be ended with this process, whatever the reason, to free the device's memory.
        atexit.register(engine.close)
        seconds = float(environment.get(START_SECONDS, "").strip() or _LONGEST_START)
        try:
            engine._wait_until_healthy(time.monotonic() + seconds)
        except BaseException:
            engine.close()
            raise
        return engine

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def submit(self, handle: RequestHandle) -> None:
        with self._changed:
            self._open += 1
        self._readers.submit(self._follow, handle)

    def step(self) -> bool:
        """Wait until a text ends; the work is done by other threads."""
        with self._changed:
            if self._open:
                self._changed.wait(timeout=0.5)
            return self._open > 0

    def close(self) -> None:
        """Stop the server, also during requests. Idempotent."""
        atexit.unregister(self.close)
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _wait_until_healthy(self, deadline: float) -> None:
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise ModelBroken(f"vLLM is not healthy in time. It said last: {self._last_words()}")
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.1)
        raise ModelBroken(f"vLLM ended with code {self._process.returncode}. It said last: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-1_000:] or "nothing"

    def _follow(self, handle: RequestHandle) -> None:
        """Read one text to its end, on a thread of the pool."""
        try:
            if not handle.left:
                self._read(handle)
        except (OSError, http.client.HTTPException, ValueError, KeyError, AttributeError) as error:
            if not handle.left:
                log.error("vLLM failed: %s", error)
                handle.emit(failed(f"vLLM failed: {type(error).__name__}"))
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _read(self, handle: RequestHandle) -> None:
        detokenizer = self._detokenizers.of(handle.prompt)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        try:
            connection.request(
                "POST", "/v1/completions", json.dumps(_asked(handle)), {"Content-Type": "application/json"}
            )
            handle.on_cancel = partial(_shut, connection)
            answer = connection.getresponse()
            if answer.status != 200:
                said = answer.read(2_000).decode(errors="replace")
                log.error("vLLM refused: %s", said)
                handle.emit(failed(f"vLLM refused it with {answer.status}"))
                return
            held: TokenEvent | None = None
            for token, logprob, reason in _tokens(answer):
                if handle.left:
                    return
                # An event is emitted only when the next one arrives, because only then it is known not to be the last.
                if held is not None and token is not None:
                    handle.emit(held)
                    held = None
                if token is not None:
                    held = detokenizer.event(token, logprob)
                if held is not None and (held.finish or reason):
                    handle.emit(
                        detokenizer.last(held, held.finish or ("length" if reason == "length" else "eos_token"))
                    )
                    return
            handle.emit(detokenizer.last(held, "length") if held else failed("vLLM said nothing"))
        finally:
            connection.close()


def _shut(connection: http.client.HTTPConnection) -> None:
    """Close a connection that another thread reads from, so that vLLM stops generating."""
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def _asked(handle: RequestHandle) -> dict[str, Any]:
    """The request, in vLLM's names."""
    settings = handle.prompt.settings
    asked: dict[str, Any] = {
        "model": _MODEL,
        "prompt": list(handle.prompt.tokens),
        "stream": True,
        "max_tokens": settings.max_new_tokens,
        "temperature": settings.temperature if settings.do_sample else 0,
        "top_p": settings.top_p if settings.do_sample else 1,
        "repetition_penalty": settings.repetition_penalty,
        "stop": list(settings.stop),
        "include_stop_str_in_output": True,
        "logprobs": 1,
        "return_token_ids": True,
        # The same text gets the same draws, as with the other engine, but vLLM's draws are different numbers.
        "seed": handle.prompt.key % 2**63,
    }
    if settings.do_sample and settings.top_k:
        asked["top_k"] = settings.top_k
    return asked


def _tokens(answer: http.client.HTTPResponse) -> Iterator[tuple[int | None, float, str | None]]:
    """Each token's id and log-probability, and why it was the last; a chunk may hold several, or none."""
    for line in answer:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise ValueError(str(event["error"])[:500])
        for choice in event["choices"]:
            ids = choice.get("token_ids") or []
            logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
            reason = choice.get("finish_reason")
            for place, token in enumerate(ids):
                logprob = logprobs[place] if place < len(logprobs) and logprobs[place] is not None else 0.0
                yield token, logprob, reason if place == len(ids) - 1 else None
            if not ids and reason:
                yield None, 0.0, reason
