"""Bodies of OpenAI's and TGI's clients, read and written without a server around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from inference.decoders import GenerationRequest, TokenEvent
from inference.decoders.settings import Decoding
from inference.records.requests import InferenceRequest
from inference.serving.openai_api import OFF, OpenAiForm, is_openai
from inference.serving.tgi_api import TgiForm
from inference.tasks.tasks import Answer
from promotion.errors import Invalid

SETTINGS = Decoding(max_new_tokens=2)
ASKED = InferenceRequest(None, ("fox",), False, SETTINGS, prepared=(GenerationRequest("fox", (5,), SETTINGS, 0),))
TURN = {"role": "user", "content": "fox"}


def chat(body: Any) -> OpenAiForm:
    return OpenAiForm(body, chat=True)


def completion(body: Any) -> OpenAiForm:
    return OpenAiForm(body, chat=False)


def tgi(body: Any) -> TgiForm:
    return TgiForm(body, listed=False)


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [
        (chat, [TURN], "a request must be an object, not list."),
        (completion, "fox", "a request must be an object, not str."),
        (tgi, None, "a request must be an object, not NoneType."),
        (tgi, {"input": "fox"}, "inputs: is missing: a request needs its text there."),
        (chat, {}, "messages: is missing."),
        (chat, {"messages": [[TURN], [TURN]]}, "messages: must be one conversation: a list of messages."),
        (completion, {}, "prompt: is missing."),
        (completion, {"prompt": []}, "prompt: is missing."),
        (completion, {"prompt": [1, 2]}, "prompt: must be a text or a list of texts; token ids are not taken."),
        (completion, {"prompt": ["a", [1]]}, "prompt: must be a text or a list of texts; token ids are not taken."),
        (completion, {"prompt": "a", "echo": "yes"}, "echo: must be true or false."),
        (chat, {"messages": [TURN], "stream": 1}, "stream: must be true or false."),
    ],
)
def test_a_body_of_another_form_is_refused_by_its_field(form: Callable[[Any], Any], body: Any, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        form(body)
    assert str(refused.value) == said


@pytest.mark.parametrize("name", sorted(OFF))
def test_a_field_of_openai_that_means_off_changes_nothing_and_another_value_is_refused(name: str) -> None:
    plain = completion({"prompt": "fox"}).record
    for value in (None, *OFF[name]):
        assert completion({"prompt": "fox", name: value}).record == plain
    with pytest.raises(Invalid, match=f"{name}: can't be done here"):
        completion({"prompt": "fox", name: "much"})


def test_the_best_of_as_many_as_are_returned_is_all_of_them() -> None:
    assert completion({"prompt": "fox", "n": 2, "best_of": 2}).record == completion({"prompt": "fox", "n": 2}).record
    with pytest.raises(Invalid, match="best_of"):
        completion({"prompt": "fox", "n": 2, "best_of": 3})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"messages": [TURN]}, True),
        ({"prompt": "fox"}, False),
        ({"prompt": ["fox"]}, False),
        ({"prompt": 3}, None),
        ({"messages": "fox"}, None),
        ({"prompt": "fox", "inputs": "fox"}, None),
        ([TURN], None),
    ],
)
def test_openais_form_is_known_by_its_fields(body: Any, found: bool | None) -> None:
    assert is_openai(body) is found


def test_a_stream_that_fails_says_why_and_is_not_done() -> None:
    events = chat({"messages": [TURN]}).events(ASKED, lines=False)

    said = events.event(TokenEvent(0, "", 0.0, False, error="out of memory"), 1)

    error = json.loads(said.removeprefix(b"data: "))["error"]
    assert (error["message"], error["type"]) == ("out of memory", "server_error")
    assert events.end() == b""


@pytest.mark.parametrize(("tokens", "reason"), [(1, "stop"), (2, "length")])
def test_why_a_text_ended_is_told_without_its_details(tokens: int, reason: str) -> None:
    """A server whose job parameters are fixed gives no details."""
    body = chat({"messages": [TURN]}).whole(ASKED, [Answer({"generated_text": "red"}, 1, tokens)], None)

    assert body["choices"][0]["finish_reason"] == reason


def test_tgis_form_keeps_names_of_fields_and_labels() -> None:
    form = tgi({"inputs": "fox"})
    labels = {"labels": ["red", "blue"], "scores": [0.9, 0.1]}

    assert form.name_of("top_p") == "top_p"
    assert form.whole(ASKED, [Answer(labels)], None) == labels
