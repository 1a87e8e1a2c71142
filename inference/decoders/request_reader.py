"""Convert a decoder's record to a prompt: a text unchanged, or messages by the artifact's chat template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from jinja2 import TemplateError

from inference.decoders import GenerationRequest
from inference.decoders.messages import plain
from inference.decoders.settings import NAMES, Decoding, Limits
from inference.engines.sampling import record_key
from inference.errors import TooLong
from inference.records.parameters import Switch, named
from inference.records.requests import InferenceRequest, parameters_of, texts_of
from promotion.errors import Invalid

# Notebooks send the model's own ids too, which change nothing.
ENDS = ("eos_token_id", "pad_token_id")
MOST_MESSAGES = 1_000
# Far more characters than an average token has, so a longer text can be refused by its beginning alone.
_CHARACTERS_PER_TOKEN = 64

# Characters of an average token in most texts; if tokens are longer, the part is doubled.
_CHARACTERS_OF_A_WORD_PIECE = 8
# The distance up to which a cut may change the tokens.
_CUT_TOKENS, _CUT_CHARACTERS = 64, 2_000
_SPACE = re.compile(r"\s")


class RequestReader:
    """Records checked against one model's tokenizer, limits and defaults."""

    def __init__(self, tokenizer: Any, limits: Limits, defaults: Decoding, ends: Collection[int] = ()) -> None:
        self._tokenizer, self._limits, self.defaults = tokenizer, limits, defaults
        self._ends = {end for end in (*ends, tokenizer.eos_token_id) if end is not None}

    def request(self, record: Mapping[str, Any], job: Mapping[str, Any] | None) -> InferenceRequest:
        """Parse a record and tokenize it; with job parameters, its own are only counted.

        Raises:
            RecordInvalid: no text, an unknown or wrong parameter; TooLong where a limit is met.
        """
        identity = record.get("id")
        try:
            fields = {name: value for name, value in record.items() if name != "stream"}
            stream = Switch().check("stream", record.get("stream") or False)
            name, texts, many, chat = self._texts(fields)
            own = self._without_own_ends(parameters_of(fields, name, (*NAMES, *ENDS)))
            settings = self.defaults.updated(own if job is None else job)
            if stream and many:
                raise Invalid("stream", "takes one text at a time, and a list was sent.")
            if stream and settings.num_return_sequences > 1:
                raise Invalid("num_return_sequences", "must be 1 where a text is streamed.")
            if stream and settings.decoder_input_details:
                raise Invalid("decoder_input_details", "is not told in a stream; ask without stream.")
            prepared = tuple(one for text in texts for one in _drawn(self._prepared(text, settings, chat), settings))
        except TooLong as error:
            raise TooLong(error.field, error.reason, identity) from None
        except Invalid as error:
            raise named(error, identity) from None
        ignored = len(own) if job is not None else 0
        return InferenceRequest(identity, texts, many, settings, ignored, prepared, bool(stream), chat)

    def _texts(self, record: Mapping[str, Any]) -> tuple[str, tuple[str, ...], bool, bool]:
        """Return the name of the input field, its texts, whether a list was sent, and whether they were messages."""
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
        messages = [plain(message, f"{name}[{place}]") for place, message in enumerate(messages)]
        try:
            # transformers renders templates in a sandbox, so an artifact's template has no access to this process.
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError) as error:
            raise Invalid(name, f"the model's chat template refuses these messages: {error}") from None
        return text

    def _prepared(self, text: str, settings: Decoding, chat: bool) -> GenerationRequest:
        # JSON can contain a lone surrogate, which a tokenizer can't encode.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        bos = self._tokenizer.bos_token
        # Chat templates, and clients that send "<s>[INST] …", add the special tokens themselves: add none again.
        special = not chat and not (bos and text.startswith(bos))
        near = self._limits.input_length * _CHARACTERS_PER_TOKEN
        if len(text) > near and settings.truncate is None:
            self._limits.check(len(self._ids(text[:near], special)), settings)
        # Truncated on the left, because the question is at the end of a prompt.
        tokens = self._ids(text, special) if settings.truncate is None else self._end(text, special, settings.truncate)
        settings = self._limits.check(len(tokens), settings.within(len(tokens)))
        shown = tuple(self._tokenizer.decode([token]) for token in tokens) if settings.decoder_input_details else ()
        return GenerationRequest(text, tokens, settings, record_key(settings.seed, text), shown)

    def _without_own_ends(self, own: dict[str, Any]) -> dict[str, Any]:
        """Refuse an end token other than the model's; a padding token is ignored, because answers never contain padding."""
        asked = own.pop("eos_token_id", None)
        if asked is not None and not _ids(asked) <= self._ends:
            ends = ", ".join(map(str, sorted(self._ends)))
            raise Invalid("eos_token_id", f"is not the model's own ({ends}); end texts elsewhere by stop.")
        own.pop("pad_token_id", None)
        return own

    def _end(self, text: str, special: bool, count: int) -> tuple[int, ...]:
        """Return the last `count` tokens of `text`; only the end of a long text is tokenized."""
        width = count * _CHARACTERS_OF_A_WORD_PIECE + _CUT_CHARACTERS
        while width < len(text):
            # Cut at the end of a word. The part's first tokens may still differ from the whole text's, and are dropped below.
            start = len(text) - width
            space = _SPACE.search(text, start, start + _CUT_CHARACTERS // 2)
            tokens = self._ids(text[space.start() if space else start :], special)
            if len(tokens) >= count + _CUT_TOKENS:
                return tokens[-count:]
            width *= 2
        return self._ids(text, special)[-count:]

    def _ids(self, text: str, special: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def _ids(asked: Any) -> set[Any]:
    """Return the ids that `asked` names, with None for a value that is not a whole number."""
    found = asked if isinstance(asked, list) else [asked]
    return {one if isinstance(one, int) and not isinstance(one, bool) else None for one in found}


def _drawn(prompt: GenerationRequest, settings: Decoding) -> Iterable[GenerationRequest]:
    """Yield `prompt` once per requested sequence, each with its own seed; the first keeps the seed of a single one."""
    yield prompt
    for number in range(1, settings.num_return_sequences):
        own = replace(prompt.settings, seed=(settings.seed or 0) + number)
        yield replace(prompt, settings=own, key=record_key(own.seed, prompt.text))
