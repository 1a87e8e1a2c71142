"""The container's contract with SageMaker, over real sockets."""

from __future__ import annotations

import ast
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.__main__ import main
from promotion.client.artifact import manifest_of_folder
from tests.inference.servers import Server


@pytest.fixture(scope="module")
def server(t5_folder: Path) -> Iterator[Server]:
    running = Server(
        t5_folder,
        PROMOTION_MANIFEST_SHA256=manifest_of_folder(t5_folder).sha256,
        PROMOTION_APPROVAL_ID="approval-7",
        HF_TASK="text2text-generation",
    )
    running.wait_until_ready()
    yield running
    running.stop()


def test_it_says_how_it_wants_to_be_called(server: Server) -> None:
    found = server.client.get("/execution-parameters").json()

    assert found == {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}


def test_one_text_gets_one_object_and_a_list_gets_a_list(server: Server) -> None:
    one = server.client.post("/invocations", json={"text_inputs": "the fox", "max_length": 5})
    many = server.client.post("/invocations", json={"text_inputs": ["the fox"], "max_length": 5})

    assert one.headers["content-type"] == "application/json"
    assert one.headers["x-promotion-approval"] == "approval-7"
    assert many.json() == [one.json()]
    assert list(one.json()) == ["generated_texts"]


@pytest.mark.parametrize("accept", ["text/csv", "application/jsonlines", "*/*", None])
def test_json_lines_get_a_line_each_whatever_is_accepted(server: Server, accept: str | None) -> None:
    body = b'{"id": 0, "text_inputs": "the fox"}\nbad\n{"id": 2, "text_inputs": "a dog"}\n'
    headers = {"content-type": "application/jsonlines; charset=utf-8", **({"accept": accept} if accept else {})}

    answer = server.client.post("/invocations", content=body, headers=headers)

    assert answer.headers["content-type"].startswith("text/csv" if accept == "text/csv" else "application/jsonlines")
    lines = answer.text.splitlines()
    assert [json.loads(line).get("id") for line in lines] == [0, None, 2]
    assert [ast.literal_eval(line) for line in lines] == [json.loads(line) for line in lines]
    assert json.loads(lines[0])["run"]["records"] == 3


def test_plain_text_is_a_text(server: Server) -> None:
    plain = server.client.post("/invocations", content="the fox", headers={"content-type": "application/x-text"})

    assert plain.json() == server.client.post("/invocations", json={"inputs": "the fox"}).json()


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not UTF-8"),
        (b"[" * 100_000, "application/json", 400, "not JSON"),
        (b"[1]", "application/json", 400, "must be an object"),
        (b'{"text_inputs": "a", "top_p": 2}', "application/json", 400, "top_p"),
        (b"a,b", "text/csv", 415, "text/csv"),
    ],
)
def test_a_wrong_request_is_refused_and_the_next_one_answered(
    server: Server, content: bytes, kind: str, status: int, reason: str
) -> None:
    answer = server.client.post("/invocations", content=content, headers={"content-type": kind})

    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert server.client.post("/invocations", json={"text_inputs": "fox"}).status_code == 200


def test_an_empty_body_of_lines_is_answered_with_none(server: Server) -> None:
    answer = server.client.post("/invocations", content=b"", headers={"content-type": "application/jsonlines"})

    assert (answer.status_code, answer.content) == (200, b"")


def test_it_is_ready_only_once_loaded_and_drains_on_sigterm(t5_folder: Path) -> None:
    notebook = "{'batch_size': 4, 'max_length': 3, 'top_k': 50, 'top_p': 0.95, 'do_sample': True}"
    approved = manifest_of_folder(t5_folder).sha256
    running = Server(t5_folder, PROMOTION_MANIFEST_SHA256=approved, HYPER_PARAMS=notebook)
    assert set(running.wait_until_ready()[:-1]) <= {503}
    lines = b"".join(
        json.dumps({"id": n, "text_inputs": f"{n} fox", "max_length": 50}).encode() + b"\n" for n in range(400)
    )
    kind = {"content-type": "application/jsonlines"}
    with running.client.stream("POST", "/invocations", content=lines, headers=kind) as answer:
        running.process.send_signal(signal.SIGTERM)
        found = answer.read().splitlines()

    code, _ = running.stop()

    assert code == 0
    assert len(found) == 400
    run = json.loads(found[0])["run"]
    assert run["ignored_parameters"] == 400
    assert run["tokens_out"] <= 800


@pytest.mark.parametrize(
    ("environment", "code", "reason"),
    [
        ({"PROMOTION_MANIFEST_SHA256": "0" * 64}, 4, "is not what was approved"),
        ({"PROMOTION_MANIFEST_SHA256": ""}, 4, "PROMOTION_MANIFEST_SHA256 is not set"),
        ({"HF_MODEL_ID": "google/flan-t5-large"}, 4, "names a model on a hub"),
        ({"HYPER_PARAMS": "{'top_p': 9}"}, 2, "HYPER_PARAMS.top_p"),
        ({"HF_TASK": "fill-mask"}, 1, "HF_TASK=fill-mask"),
    ],
    ids=str,
)
def test_a_model_that_may_not_run_ends_with_its_exit_code(
    t5_folder: Path, environment: dict[str, str], code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = {"SM_MODEL_DIR": str(t5_folder), "PROMOTION_MANIFEST_SHA256": manifest_of_folder(t5_folder).sha256}
    before = signal.getsignal(signal.SIGTERM)

    assert main(["serve", "--host", "127.0.0.1", "--port", "0"], {**known, **environment}) == code

    assert reason in caplog.text
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_port_that_is_taken_is_said(t5_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        assert (
            main(["serve", "--host", "127.0.0.1", "--port", port, "--unverified"], {"SM_MODEL_DIR": str(t5_folder)})
            == 1
        )

    assert f"can't serve on 127.0.0.1:{port}" in caplog.text
