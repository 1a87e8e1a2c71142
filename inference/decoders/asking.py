"""A record for a decoder becomes what is to be continued: a text as it is, or messages through the artifact's template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from inference.decoders import Continuation
from inference.decoders.settings import NAMES, Decoding, Limits
from inference.engines.sampling import record_key
from inference.errors import RecordInvalid, TooLong
from inference.records.parameters import Switch, named
from inference.records.requests import Request, parameters_of, texts_of
from promotion.errors import Invalid

ROLES = ("system", "user", "assistant", "tool")
MOST_MESSAGES = 1_000
# Far more characters than a token has: a longer text can be refused by its beginning.
_CHARACTERS_PER_TOKEN = 64

# What a token has on average in most texts; where it has more, the part is doubled.
_CHARACTERS_OF_A_WORD_PIECE = 8
# How far a cut may change the tokens behind it.
_CUT_TOKENS, _CUT_CHARACTERS = 64, 2_000
_SPACE = re.compile(r"\s")

Messages = Sequence[Mapping[str, str]]


class Asking:
    """Records checked against one model's tokenizer, limits and defaults."""

    def __init__(self, tokenizer: Any, limits: Limits, defaults: Decoding) -> None:
        self._tokenizer, self._limits, self.defaults = tokenizer, limits, defaults

    def request(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> Request:
        """What `record` asks for, with its tokens. With job parameters, its own are not used, only counted.

        Raises:
            RecordInvalid: no text, an unknown or wrong parameter; TooLong where a limit is met.
        """
        identity = record.get("id")
        try:
            fields = {name: value for name, value in record.items() if name != "stream"}
            stream = Switch().check("stream", record.get("stream") or False)
            name, texts, many, chat = self._texts(fields)
            own = parameters_of(fields, name, NAMES)
            settings = self.defaults.updated(own if job is None else job)
            if stream and many:
                raise Invalid("stream", "takes one text at a time, and a list was sent.")
            prepared = tuple(self._prepared(text, settings, chat) for text in texts)
        except TooLong as error:
            raise TooLong(error.field, error.reason, identity) from None
        except RecordInvalid:
            raise
        except Invalid as error:
            raise named(error, identity) from None
        ignored = len(own) if job is not None else 0
        return Request(identity, texts, many, settings, ignored, prepared, bool(stream), chat)

    def _texts(self, record: Mapping[str, Any]) -> tuple[str, tuple[str, ...], bool, bool]:
        """Which field holds the input, its texts, whether a list was sent, and whether they were messages."""
        name = "messages" if record.get("messages") is not None else "inputs"
        value = record.get(name)
        if name == "messages" or (isinstance(value, list) and value and isinstance(value[0], (dict, list))):
            if not isinstance(value, list) or not value:
                raise Invalid(name, "must be a list of messages, each with role and content.")
            # JumpStart's Llama-2 takes a list of conversations; TGI's and OpenAI's clients send one.
            several = isinstance(value[0], list)
            conversations = value if several else [value]
            texts = tuple(self._rendered(name, messages) for messages in conversations)
            return name, texts, several and len(texts) > 1, True
        return *texts_of(record, ("inputs", "text_inputs")), False

    def _rendered(self, name: str, messages: Any) -> str:
        if not getattr(self._tokenizer, "chat_template", None):
            raise Invalid(name, "holds messages, and this model's tokenizer has no chat template: send one text.")
        if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
            raise Invalid(name, f"must hold 1 to {MOST_MESSAGES} messages, each with role and content.")
        for message in messages:
            content = message.get("content") if isinstance(message, dict) else None
            if not isinstance(content, str) or message.get("role") not in ROLES:
                raise Invalid(name, f"must be messages with a role ({', '.join(ROLES)}) and content that is a text.")
        try:
            # transformers renders in a sandbox of its own: a template from an artifact reaches nothing.
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            raise Invalid(name, f"the model's chat template refuses these messages: {error}") from None
        return text

    def _prepared(self, text: str, settings: Decoding, chat: bool) -> Continuation:
        # JSON can spell half a character; a tokenizer can't read one.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        bos = self._tokenizer.bos_token
        # A chat template has put the special tokens in, and so has who sends "<s>[INST] …": once is enough.
        special = not chat and not (bos and text.startswith(bos))
        near = self._limits.input_length * _CHARACTERS_PER_TOKEN
        if len(text) > near and settings.truncate is None:
            self._limits.check(len(self._ids(text[:near], special)), settings)
        # The end of a prompt is where the question stands.
        tokens = self._ids(text, special) if settings.truncate is None else self._end(text, special, settings.truncate)
        settings = self._limits.check(len(tokens), settings)
        return Continuation(text, tokens, settings, record_key(settings.seed, text))

    def _end(self, text: str, special: bool, count: int) -> tuple[int, ...]:
        """The last `count` tokens of `text`; of a long one only as much is tokenized as they take."""
        width = count * _CHARACTERS_OF_A_WORD_PIECE + _CUT_CHARACTERS
        while width < len(text):
            # From the end of a word on: the first tokens of a part may differ from the whole's, and are left out below.
            start = len(text) - width
            space = _SPACE.search(text, start, start + _CUT_CHARACTERS // 2)
            tokens = self._ids(text[space.start() if space else start :], special)
            if len(tokens) >= count + _CUT_TOKENS:
                return tokens[-count:]
            width *= 2
        return self._ids(text, special)[-count:]

    def _ids(self, text: str, special: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=special)["input_ids"])
