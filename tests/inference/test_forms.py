"""The forms that published clients speak, over real sockets: OpenAI's, TGI's, Hugging Face's, JumpStart's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.batch.opening import task_for
from inference.models.loading import load
from inference.records import neutral
from inference.serving import openai_api
from inference.serving.settings import Hosting
from inference.tasks.pipeline import Pipeline
from tests.inference.servers import serving

PAGE = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text(encoding="utf-8")
MESSAGES = [{"role": "user", "content": "the fox"}]


@pytest.fixture(scope="module")
def decoder(llama_folder: Path) -> Iterator[str]:
    with serving(Pipeline(task_for(load(llama_folder), {"MAX_TOTAL_TOKENS": "200"}))) as (address, _, _):
        yield address


def post(address: str, path: str, body: Any) -> httpx.Response:
    return httpx.post(address + path, json=body, timeout=60)


def chunks(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations"])
def test_a_chat_has_openais_form_whole_and_in_chunks(decoder: str, path: str) -> None:
    body = {"model": "tgi", "messages": MESSAGES, "max_tokens": 8}

    whole = post(decoder, path, body).json()
    stream = chunks(post(decoder, path, {**body, "stream": True, "stream_options": {"include_usage": True}}))

    assert whole["object"] == "chat.completion"
    assert whole["model"] == "tgi"
    assert whole["choices"][0]["finish_reason"] in ("length", "stop")
    assert {chunk["object"] for chunk in stream} == {"chat.completion.chunk"}
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in stream[:-1])
    assert said == whole["choices"][0]["message"]["content"]
    assert stream[-1]["usage"] == whole["usage"]


def test_a_completion_is_what_generate_says(decoder: str) -> None:
    whole = post(decoder, "/v1/completions", {"prompt": ["the fox"], "max_tokens": 8, "echo": True}).json()
    own = post(decoder, "/generate", {"inputs": "the fox", "parameters": {"max_new_tokens": 8}}).json()

    assert whole["choices"][0]["text"] == "the fox" + own["generated_text"]


def test_parts_a_developer_and_a_silent_assistant_are_messages(decoder: str) -> None:
    parts = [{"type": "text", "text": "the"}, {"type": "text", "text": "fox"}]
    spoken = [
        {"role": "developer", "content": "short"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "more"},
    ]
    plain = [
        {"role": "system", "content": "short"},
        {"role": "user", "content": "the\nfox"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "more"},
    ]
    found = [
        post(decoder, "/v1/chat/completions", {"messages": one, "max_completion_tokens": 5}).json()
        for one in (spoken, plain)
    ]

    assert found[0]["choices"] == found[1]["choices"]


def test_several_choices_are_drawn_apart_and_the_first_is_the_one_alone(decoder: str) -> None:
    body = {"messages": MESSAGES, "max_tokens": 12, "seed": 4, "temperature": 1.5}

    several = post(decoder, "/v1/chat/completions", {**body, "n": 3}).json()
    alone = post(decoder, "/v1/chat/completions", body).json()

    texts = [choice["message"]["content"] for choice in several["choices"]]
    assert texts[0] == alone["choices"][0]["message"]["content"]
    assert len(set(texts)) == 3
    assert several["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]


def test_a_stop_is_left_out_of_text_and_chunks(decoder: str) -> None:
    body = {"prompt": "the fox", "max_tokens": 30}
    text = post(decoder, "/v1/completions", body).json()["choices"][0]["text"]
    stop = text[6:9]
    expected = text[: text.index(stop)]

    whole = post(decoder, "/v1/completions", {**body, "stop": stop}).json()["choices"][0]
    stream = chunks(post(decoder, "/v1/completions", {**body, "stop": [stop], "stream": True}))

    assert (whole["text"], whole["finish_reason"]) == (expected, "stop")
    assert "".join(chunk["choices"][0]["text"] for chunk in stream) == expected


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_completion_tokens": 5_000}, "max_completion_tokens"),
        ({"n": 2, "temperature": 0}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": None}, "messages"),
    ],
)
def test_unsupported_fields_of_openai_are_refused_by_name(decoder: str, changes: dict[str, Any], name: str) -> None:
    answer = post(decoder, "/v1/chat/completions", {"messages": MESSAGES, **changes})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, name)
    assert name in error["message"]


@pytest.mark.parametrize("name", sorted(neutral.OFF))
def test_a_value_that_means_off_passes_and_another_is_refused_by_name(decoder: str, name: str) -> None:
    body = {"inputs": "the fox", "parameters": {"max_new_tokens": 3}}
    plain = post(decoder, "/invocations", body).json()
    for value in neutral.OFF[name]:
        with_it = {"inputs": "the fox", "parameters": {"max_new_tokens": 3, name: value}}
        assert post(decoder, "/invocations", with_it).json() == plain
    if name in ("early_stopping", "use_cache", "details", "decoder_input_details", "num_return_sequences"):
        return
    answer = post(decoder, "/invocations", {"inputs": "the fox", "parameters": {name: "much"}})

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{name}:")


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"temperature": 0.0, "do_sample": True},
        {"top_k": -1, "do_sample": False},
        {"eos_token_id": 1, "pad_token_id": 1},
        {"eos_token_id": [1]},
    ],
)
def test_another_spelling_of_greedy_is_greedy(decoder: str, parameters: dict[str, Any]) -> None:
    plain = post(decoder, "/generate", {"inputs": "the fox", "parameters": {"max_new_tokens": 5}})
    other = post(decoder, "/generate", {"inputs": "the fox", "parameters": {"max_new_tokens": 5, **parameters}})

    assert other.json() == plain.json()


def test_another_end_than_the_models_is_refused(decoder: str) -> None:
    answer = post(decoder, "/invocations", {"inputs": "a", "parameters": {"eos_token_id": 7}})

    assert (answer.status_code, answer.json()["error"].split(":")[0]) == (400, "eos_token_id")


def test_hub_options_pass_and_a_foreign_text_parameter_is_no_data(decoder: str) -> None:
    options = {"inputs": "a", "options": {"wait_for_model": True}, "parameters": {"max_new_tokens": 2}}

    assert post(decoder, "/invocations", options).status_code == 200
    assert post(decoder, "/invocations", {"inputs": "a", "adapter_id": "mine"}).status_code == 400


def test_tgis_client_gets_its_prompts_tokens(decoder: str) -> None:
    parameters = {"max_new_tokens": 4, "details": True, "decoder_input_details": True, "watermark": False, "stop": []}

    [answer] = post(decoder, "/", {"inputs": "the fox", "stream": False, "parameters": parameters}).json()

    prefill = answer["details"]["prefill"]
    assert "".join(token["text"] for token in prefill) == "<s>the fox"
    assert len(prefill) == answer["details"]["input_length"]


def test_tgis_routes_have_tgis_bodies(decoder: str) -> None:
    body = {"inputs": "the fox", "parameters": {"max_new_tokens": 4}}

    whole = post(decoder, "/generate", {**body, "stream": True}).json()
    events = post(decoder, "/generate_stream", body)

    assert list(whole) == ["generated_text"]
    assert events.headers["content-type"].startswith("text/event-stream")
    assert (
        json.loads(events.text.strip().split("\n\n")[-1].removeprefix("data:"))["generated_text"]
        == whole["generated_text"]
    )
    assert httpx.get(decoder + "/info").json()["max_total_tokens"] == 200
    assert httpx.get(decoder + "/health").status_code == 200
    assert httpx.get(decoder + "/v1/models").json()["data"][0]["id"] == "model"


def test_jumpstarts_notebook_reads_its_several_texts(decoder: str) -> None:
    body = {
        "text_inputs": "the fox",
        "max_length": 20,
        "num_return_sequences": 3,
        "top_k": 50,
        "do_sample": True,
        "seed": 3,
    }

    answer = post(decoder, "/invocations", body)

    assert [list(one) for one in answer.json()[0]] == [["generated_text"]] * 3
    assert answer.content.endswith(b"]\n")


def test_a_length_with_the_prompt_leaves_what_the_prompt_left(decoder: str) -> None:
    body = {"inputs": "the fox", "parameters": {"max_length": 12, "details": True}}

    [answer] = post(decoder, "/invocations", body).json()

    assert answer["details"]["input_length"] + answer["details"]["generated_tokens"] == 12


@pytest.mark.parametrize(
    ("task", "field"), [("summarization", "summary_text"), ("translation_en_to_de", "translation_text")]
)
def test_a_text_has_the_name_of_its_task_where_hugging_faces_form_asked(texts: Pipeline, task: str, field: str) -> None:
    with serving(texts, Hosting.of({"HF_TASK": task})) as (address, _, _):
        [named] = post(address, "/invocations", {"inputs": "the fox"}).json()
        plain = post(address, "/invocations", {"text_inputs": "the fox"}).json()
        tgi = post(address, "/generate", {"inputs": "the fox"}).json()
        refused = post(address, "/v1/completions", {"prompt": "the fox"})

    assert named == {field: plain["generated_texts"][0]}
    assert tgi == {"generated_text": plain["generated_texts"][0]}
    assert "text2text-generation" in refused.json()["error"]["message"]


def test_every_name_of_both_tables_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE))

    assert set(neutral.OFF) - named == set()
    assert {*openai_api.TAKEN, *openai_api.IGNORED, *openai_api.OFF} - named == set()
