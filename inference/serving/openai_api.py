"""OpenAI's API: chat completions and completions, complete or streamed, also on /invocations."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from inference.decoders import TokenEvent
from inference.records.neutral import off
from inference.records.requests import InferenceRequest
from inference.serving.formats import SSE_TYPE, dump
from inference.serving.forms import Events, as_object
from inference.tasks.tasks import Answer
from promotion.errors import Invalid

# OpenAI's and vLLM's names of the pipeline's parameters.
TAKEN: Mapping[str, str] = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "n": "num_return_sequences",
    "stop": "stop",
    "seed": "seed",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
}
# Fields that concern only OpenAI's service, and not the answer.
IGNORED = (
    "model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "parallel_tool_calls",
)  # fmt: skip
# Values without an effect, by field name; other values are refused.
OFF: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "logit_bias": ({}, []),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "suffix": ("",),
    "reasoning_effort": ("none",),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "include_stop_str_in_output": (False,),
}


class OpenAiForm:
    """One request in OpenAI's form.

    Raises:
        Invalid: a field asks for something unsupported; it is named as in the API.
    """

    def __init__(self, body: Any, *, chat: bool, model: str = "model") -> None:
        """Parse a request body of OpenAI's API.

        Args:
            body: The decoded JSON.
            chat: True for chat completions, False for completions.
            model: Name of the model if the body gives none.

        Raises:
            Invalid: the body is not an object, or a field is wrong.
        """
        value = as_object(body)
        self._chat, self._names = chat, {"messages": "messages"}
        asked_model = value.get("model")
        self._model = asked_model if isinstance(asked_model, str) and asked_model else model
        self._id = ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex
        self._created = int(time.time())
        prompt = "messages" if chat else "prompt"
        parameters: dict[str, Any] = {}
        for name, item in value.items():
            if name in TAKEN and item is not None:
                parameters[TAKEN[name]] = item
                self._names[TAKEN[name]] = name
            elif name not in (prompt, "stream", "stream_options", "echo", *IGNORED, *TAKEN):
                _refuse_unless_off(name, item, value)
        parameters["details"] = True
        if not chat and _switch(value, "echo"):
            parameters["return_full_text"] = True
        several = parameters.get("num_return_sequences")
        if isinstance(several, int) and several > 1 and parameters.get("temperature") is None:
            # OpenAI's API samples by default.
            parameters["do_sample"] = True
        self._each = several if isinstance(several, int) else 1
        self.record: dict[str, Any] = {"parameters": parameters, "stream": _switch(value, "stream")}
        options = value.get("stream_options") or {}
        self._usage_requested = isinstance(options, dict) and options.get("include_usage") is True
        self._take_prompt(value.get(prompt))

    def _take_prompt(self, prompt: Any) -> None:
        if self._chat:
            if prompt is None:
                raise Invalid("messages", "is missing.")
            if isinstance(prompt, list) and prompt and isinstance(prompt[0], list):
                raise Invalid("messages", "must be one conversation: a list of messages.")
            self.record["messages"] = prompt
            return
        if isinstance(prompt, list) and prompt and not all(isinstance(text, str) for text in prompt):
            raise Invalid("prompt", "must be a text or a list of texts; token ids are not taken.")
        if prompt is None or prompt == []:
            raise Invalid("prompt", "is missing.")
        self.record["inputs"] = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
        self._names["inputs"] = "prompt"

    def name_of(self, field: str) -> str:
        """Return the API's name for a field of the pipeline's record."""
        return self._names.get(field, field)

    def whole(self, asked: InferenceRequest, answers: Sequence[Answer], value: Any) -> Any:
        """Return the completion object with its choices and usage."""
        choices: list[dict[str, Any]] = []
        for number, answer in enumerate(answers):
            details = answer.fields.get("details") or _details(answer, asked.prepared[number])
            texts = answer.fields.get("generated_texts") or [answer.fields["generated_text"]]
            finishes = [details, *details.get("best_of_sequences", [])]
            for text, ended in zip(texts, finishes, strict=True):
                choices.append(self._choice(len(choices), asked, text, ended["finish_reason"]))
        taken = sum(answer.tokens_in for answer in answers)
        usage = _usage(taken, sum(answer.tokens_out for answer in answers))
        return {
            **self._head("chat.completion" if self._chat else "text_completion"),
            "choices": choices,
            "usage": usage,
        }

    def events(self, asked: InferenceRequest, *, lines: bool) -> Events:
        """Return the stream's form: chunks as server-sent events."""
        return _Chunks(self, asked)

    def _choice(self, index: int, asked: InferenceRequest, text: str, finish: str) -> dict[str, Any]:
        if finish == "stop_sequence":
            text = _without_stop(text, asked.settings.stop)  # type: ignore[union-attr]
        choice: dict[str, Any] = {"index": index, "logprobs": None, "finish_reason": _finish(finish)}
        if self._chat:
            return {**choice, "message": {"role": "assistant", "content": text, "refusal": None}}
        return {**choice, "text": text}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": "promotion",
        }

    def chunk(self, text: str | None, finish: str | None) -> bytes:
        """Return one event; `text` is None in the last one, which ends the choice."""
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if self._chat:
            # TGI's client requires the role in each event, and null for tools.
            choice["delta"] = {"role": "assistant", "content": text or "", "tool_calls": None}
        else:
            choice["text"] = text or ""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        told = {"usage": None} if self._usage_requested else {}
        return _event({**self._head(kind), "choices": [choice], **told})

    def last(self, taken: int, made: int) -> bytes:
        """Return the end of the stream: the usage, if requested, and `[DONE]`."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        usage = {**self._head(kind), "choices": [], "usage": _usage(taken, made)}
        return (_event(usage) if self._usage_requested else b"") + b"data: [DONE]\n\n"


class _Chunks:
    """A stream in chunks. OpenAI omits stop sequences, so text that may be the start of one is held back."""

    media_type = SSE_TYPE

    def __init__(self, form: OpenAiForm, asked: InferenceRequest) -> None:
        self._form, self._prompt = form, asked.prepared[0]
        self._stops: tuple[str, ...] = asked.settings.stop  # type: ignore[union-attr]
        self._text, self._sent, self._made, self._failed = "", 0, 0, False
        self._begun = False

    def event(self, event: TokenEvent, number: int) -> bytes:
        self._made = number
        if event.error:
            self._failed = True
            return _event({"error": {"message": event.error, "type": "server_error", "param": None, "code": None}})
        if not event.special:
            self._text += event.text
        if event.finish is not None:
            self._text = event.generated_text or self._text
            if event.finish == "stop_sequence":
                self._text = _without_stop(self._text, self._stops)
            new, self._sent = self._text[self._sent :], len(self._text)
            told = self._form.chunk(self._first() + new, None) if new or not self._begun else b""
            return told + self._form.chunk(None, _finish(event.finish))
        safe = len(self._text) - _held(self._text, self._stops)
        new, self._sent = self._text[self._sent : safe], max(self._sent, safe)
        if not new and self._begun:
            return b""
        return self._form.chunk(self._first() + new, None)

    def end(self) -> bytes:
        return b"" if self._failed else self._form.last(len(self._prompt.tokens), self._made)

    def _first(self) -> str:
        """Return the text before the first token: the prompt, if it is echoed."""
        before = self._prompt.text if self._prompt.settings.return_full_text and not self._begun else ""
        self._begun = True
        return before


def models(name: str, created: int) -> dict[str, Any]:
    """Return OpenAI's list of models, with one model."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "promotion"}]}


def is_openai(value: Any) -> bool | None:
    """Return True for a body of OpenAI's chat API on /invocations, False for a completion, None for neither."""
    if not isinstance(value, dict) or any(
        name in value for name in ("inputs", "text_inputs", "template", "parameters")
    ):
        return None
    if isinstance(value.get("messages"), list):
        return True
    return False if isinstance(value.get("prompt"), (str, list)) else None


def _refuse_unless_off(name: str, value: Any, body: Mapping[str, Any]) -> None:
    if value is None or value in OFF.get(name, ()) or off(name, value):
        return
    if name == "best_of" and value == body.get("n"):
        return
    reason = "can't be done here" if name in OFF else "is not a parameter that is known here, or can't be done"
    raise Invalid(name, f"{reason}; there are {', '.join(TAKEN)}.")


def _switch(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name)
    if found is not None and not isinstance(found, bool):
        raise Invalid(name, "must be true or false.")
    return bool(found)


def _without_stop(text: str, stops: Sequence[str]) -> str:
    ending = max((stop for stop in stops if text.endswith(stop)), key=len, default="")
    return text.removesuffix(ending)


def _held(text: str, stops: Sequence[str]) -> int:
    """Return the number of last characters that may be the start of a stop sequence."""
    longest = min(len(text), max((len(stop) - 1 for stop in stops), default=0))
    found = (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in stops))
    return next(found, 0)


def _details(answer: Answer, prompt: Any) -> dict[str, Any]:
    """Return why a text ended, if a job's parameters excluded the details."""
    return {"finish_reason": "length" if answer.tokens_out == prompt.settings.max_new_tokens else "eos_token"}


def _finish(reason: str) -> str:
    return "length" if reason == "length" else "stop"


def _usage(taken: int, made: int) -> dict[str, int]:
    return {"prompt_tokens": taken, "completion_tokens": made, "total_tokens": taken + made}


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + dump(value) + b"\n\n"
