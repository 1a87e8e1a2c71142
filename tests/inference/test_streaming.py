"""Streams as clients read them: in chunks that end anywhere, by parsers that know nothing of ours."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.batch.opening import task_for
from inference.decoders.task import TextGeneration
from inference.models.loading import Loaded, load
from inference.serving.settings import Hosting
from inference.tasks.pipeline import Pipeline
from promotion.client.artifact import manifest_of_folder
from tests.inference.real_time import answer_record
from tests.inference.servers import Server, serving

PAGE = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text(encoding="utf-8")
LINES, EVENTS = "application/jsonlines", "text/event-stream"
PARAMETERS: dict[str, Any] = {"max_new_tokens": 40, "temperature": 3.0, "seed": 4}
ASKED: dict[str, Any] = {"inputs": "über 東京 🦊", "parameters": PARAMETERS}


@pytest.fixture(scope="module")
def loaded(llama_folder: Path) -> Loaded:
    return load(llama_folder)


@pytest.fixture(scope="module")
def address(loaded: Loaded) -> Iterator[str]:
    with serving(Pipeline(task_for(loaded), approval_id="approval-9")) as (found, _, _):
        yield found


def streamed(address: str, accept: str | None, **changes: Any) -> httpx.Response:
    headers = {"accept": accept} if accept else {}
    return httpx.post(f"{address}/invocations", json={**ASKED, "stream": True, **changes}, headers=headers, timeout=60)


def whole(address: str, **changes: Any) -> dict[str, Any]:
    [answer] = httpx.post(f"{address}/invocations", json={**ASKED, **changes}, timeout=60).json()
    found: dict[str, Any] = answer
    return found


def figures(address: str) -> str:
    return httpx.get(f"{address}/metrics", timeout=60).text


def chunked(body: bytes, size: int) -> list[dict[str, Any]]:
    """Return chunks as of boto3's EventStream, cut without regard to lines and characters."""
    return [{"PayloadPart": {"Bytes": body[at : at + size]}} for at in range(0, len(body), size)]


class LineIterator:
    """As notebooks have it: bytes into a buffer, lines out of it."""

    def __init__(self, stream: Sequence[dict[str, Any]]) -> None:
        self.byte_iterator = iter(stream)
        self.buffer = io.BytesIO()
        self.read_pos = 0

    def __iter__(self) -> LineIterator:
        return self

    def __next__(self) -> bytes:
        while True:
            self.buffer.seek(self.read_pos)
            line = self.buffer.readline()
            if line and line[-1] == ord("\n"):
                self.read_pos += len(line)
                return line[:-1]
            chunk = next(self.byte_iterator)
            self.buffer.seek(0, io.SEEK_END)
            self.buffer.write(chunk["PayloadPart"]["Bytes"])


def by_notebook(stream: Sequence[dict[str, Any]]) -> str:
    """TGI's stream, as notebooks for Llama 2 and Falcon print it."""
    text = ""
    for line in LineIterator(stream):
        if line != b"" and b"{" in line:
            data = json.loads(line[line.find(b"{") :].decode("utf-8"))
            if data["token"]["text"] != "</s>":
                text += data["token"]["text"]
    return text


def by_specification(stream: Sequence[dict[str, Any]]) -> str:
    """Server-sent events as a browser reads them: fields, comments, a blank line dispatches."""
    body = b"".join(part["PayloadPart"]["Bytes"] for part in stream).decode("utf-8")
    text = ""
    data: list[str] = []
    for line in re.split("\r\n|\n|\r", body):
        if not line:
            if data:
                event = json.loads("\n".join(data))
                text += "" if event["token"]["special"] else event["token"]["text"]
            data = []
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
    return text


def by_the_page(stream: Sequence[dict[str, Any]]) -> str:
    """The client that the documentation has."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def tokens" in block)
    known: dict[str, Any] = {}
    exec(code, known)
    return "".join(known["tokens"](stream))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize("client", [by_notebook, by_specification, by_the_page])
def test_server_sent_events_are_read_however_they_are_cut(
    address: str, client: Callable[[Sequence[dict[str, Any]]], str], size: int
) -> None:
    answer = streamed(address, EVENTS)

    assert answer.headers["content-type"].startswith(EVENTS)
    assert answer.headers["x-promotion-approval"] == "approval-9"
    assert not answer.content.isascii()
    assert client(chunked(answer.content, size)) == whole(address)["generated_text"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
@pytest.mark.parametrize("client", [by_notebook, by_the_page])
def test_json_lines_are_read_however_they_are_cut(
    address: str, client: Callable[[Sequence[dict[str, Any]]], str], size: int
) -> None:
    answer = streamed(address, LINES)

    assert answer.headers["content-type"] == LINES
    assert client(chunked(answer.content, size)) == whole(address)["generated_text"]


def test_events_have_tgis_fields(address: str) -> None:
    events = [json.loads(line[5:]) for line in streamed(address, None).text.splitlines() if line]
    details = whole(address, parameters={**PARAMETERS, "details": True})["details"]

    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    assert {tuple(event["token"]) for event in events} == {("id", "text", "logprob", "special")}
    assert all(event["generated_text"] is None and event["details"] is None for event in events[:-1])
    assert events[-1]["generated_text"] == whole(address)["generated_text"]
    names = ("finish_reason", "generated_tokens", "seed", "input_length")
    assert events[-1]["details"] == {name: details[name] for name in names}
    assert [event["token"]["id"] for event in events] == [token["id"] for token in details["tokens"]]


def test_lines_have_lmis_fields(address: str) -> None:
    lines = [json.loads(line) for line in streamed(address, LINES).text.splitlines()]

    assert [list(line) for line in lines[:-1]] == [["token"]] * (len(lines) - 1)
    assert list(lines[0]["token"])[:3] == ["id", "text", "log_prob"]
    assert lines[-1]["generated_text"] == whole(address)["generated_text"]
    assert lines[-1]["details"] == {
        "finish_reason": "length", "generated_tokens": len(lines), "inputs": ASKED["inputs"],
    }  # fmt: skip


def test_lines_are_the_form_where_the_deployment_says_so(loaded: Loaded) -> None:
    with serving(Pipeline(task_for(loaded)), Hosting.of({"OPTION_OUTPUT_FORMATTER": "jsonlines"})) as (address, _, _):
        assert streamed(address, None).headers["content-type"] == LINES
        assert streamed(address, EVENTS).headers["content-type"].startswith(EVENTS)


def test_a_stop_ends_a_stream_and_the_full_text_has_its_prompt(address: str) -> None:
    text = whole(address)["generated_text"]
    stop = text[5:8]
    parameters = {**PARAMETERS, "stop": [stop], "return_full_text": True}

    answer = streamed(address, EVENTS, parameters=parameters)

    last = json.loads(answer.text.strip().splitlines()[-1][5:])
    assert last["generated_text"] == ASKED["inputs"] + text[: text.index(stop) + len(stop)]
    assert last["details"]["finish_reason"] == "stop_sequence"


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"parameters": {"max_new_tokens": 900}}, 422, "max_new_tokens"),
        ({"inputs": "the fox " * 200}, 422, "inputs"),
        ({"parameters": {"temperature": -1}}, 400, "temperature"),
        ({"inputs": ["a", "b"]}, 400, "stream"),
    ],
    ids=str,
)
def test_errors_are_reported_before_a_stream_begins(
    address: str, changes: dict[str, Any], status: int, field: str
) -> None:
    answer = streamed(address, EVENTS, **changes)

    assert answer.status_code == status
    assert answer.json()["error"].startswith(f"{field}: ")
    assert answer.json()["error_type"] == "validation"


def test_a_text_that_fails_under_way_says_so_in_its_stream(loaded: Loaded) -> None:
    from tests.inference.step_engines import Watched, engine_of

    task = task_for(loaded)
    assert isinstance(task, TextGeneration)
    asked = {"inputs": "the fox", "parameters": {"max_new_tokens": 12}}
    [said], _ = answer_record(Pipeline(task), {**asked, "parameters": {"max_new_tokens": 12, "details": True}})
    task.engine, _ = engine_of(loaded, Watched(loaded.model, broken=said["details"]["tokens"][3]["id"]))

    with serving(Pipeline(task)) as (address, _, _):
        events = streamed(address, EVENTS, **asked).text.strip().splitlines()
        lines = streamed(address, LINES, **asked).text.splitlines()
        answer = httpx.post(
            f"{address}/invocations", json={"inputs": "x", "parameters": {"max_new_tokens": 1}}, timeout=60
        )

    assert json.loads(events[-1][5:])["error_type"] == "generation"
    assert json.loads(lines[-1])["details"]["finish_reason"] == "error"
    assert answer.status_code == 200


def test_a_text_that_fails_at_its_first_token_has_a_status_of_its_own(loaded: Loaded) -> None:
    from tests.inference.step_engines import Watched, engine_of

    task = task_for(loaded)
    assert isinstance(task, TextGeneration)
    task.engine, _ = engine_of(loaded, Watched(loaded.model, broken=loaded.tokenizer("~")["input_ids"][-1]))

    with serving(Pipeline(task)) as (address, _, _):
        answer = streamed(address, EVENTS, inputs="the ~ fox")

    assert answer.status_code == 500
    assert answer.json()["error"] == "the text could not be generated: the model fails on it: ValueError."
    assert answer.json()["error_type"] == "generation"


def test_hugging_faces_own_client_reads_it(address: str) -> None:
    """In a process of its own: the one that serves keeps that library from the network."""
    import os
    import subprocess
    import sys

    program = (
        "import sys, json\n"
        "from huggingface_hub import InferenceClient\n"
        "client = InferenceClient(model=sys.argv[1], token='none')\n"
        "options = dict(max_new_tokens=40, temperature=3.0, seed=4)\n"
        "found = client.text_generation(sys.argv[2], details=True, stream=True, **options)\n"
        "events = list(found)\n"
        "print(json.dumps([[one.token.text for one in events], events[-1].generated_text]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE",)}
    done = subprocess.run(
        [sys.executable, "-c", program, f"{address}/invocations", str(ASKED["inputs"])],
        capture_output=True, text=True, check=False, env={**environment, "HF_HUB_OFFLINE": "0"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    texts, generated = json.loads(done.stdout)
    assert "".join(texts) == generated == whole(address)["generated_text"]


def test_the_command_serves_a_chat_model_under_its_licence_and_limits(llama_folder: Path) -> None:
    running = Server(
        llama_folder,
        PROMOTION_MANIFEST_SHA256=manifest_of_folder(llama_folder).sha256,
        MAX_INPUT_LENGTH="64",
        MAX_TOTAL_TOKENS="128",
        MAX_BATCH_TOTAL_TOKENS="512",
        SM_NUM_GPUS="1",
        EULA="the llama licence",
    )
    try:
        running.wait_until_ready()
        accepted = {"X-Amzn-SageMaker-Custom-Attributes": "tab=1;accept_eula=true"}
        asked = {"messages": [{"role": "user", "content": "fox?"}], "parameters": {"max_new_tokens": 9}, "stream": True}

        refused = running.client.post("/invocations", json=asked)
        answered = running.client.post("/invocations", json=asked, headers=accepted)
        long = running.client.post("/invocations", json={"inputs": "0123456789" * 7}, headers=accepted)
        figures = running.client.get("/metrics").text
    finally:
        code, said = running.stop()

    assert refused.status_code == 403
    assert "the llama licence" in refused.json()["error"]
    assert "accept_eula=true" in refused.json()["error"]
    assert answered.text.count("data:") == 9
    assert long.status_code == 422
    assert "at most 64 tokens (MAX_INPUT_LENGTH)" in long.json()["error"]
    assert "inference_time_to_first_token_ms_count 1" in figures
    assert code == 0
    assert "streamed 9 tokens, first after" in said


def test_a_licence_accepted_by_the_deployment_holds_for_all(loaded: Loaded) -> None:
    hosting = Hosting.of({"EULA": "the llama licence", "ACCEPT_EULA": "true"})

    with serving(Pipeline(task_for(loaded)), hosting) as (address, _, _):
        assert streamed(address, None).status_code == 200
