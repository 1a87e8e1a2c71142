"""Tokenizers of a few hundred tokens, in the forms that the families use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

WORDS = [
    "the",
    "report",
    "says",
    "that",
    "a",
    "new",
    "bridge",
    "over",
    "the",
    "river",
    "was",
    "opened",
    "on",
    "monday",
    "while",
    "engineers",
    "from",
    "seven",
    "countries",
    "looked",
    "at",
    "its",
    "cables",
    "and",
    "wrote",
    "down",
    "how",
    "much",
    "they",
    "move",
    "in",
    "the",
    "wind",
    "nobody",
    "had",
    "asked",
    "for",
    "music",
    "but",
    "a",
    "band",
    "played",
    "songs",
    "about",
    "water",
    "trains",
    "and",
    "summer",
    "until",
    "the",
    "mayor",
    "spoke",
    "she",
    "thanked",
    "everyone",
    "and",
    "promised",
    "cheaper",
    "tickets",
    "for",
    "schools",
]
TEXTS = [" ".join(WORDS[place : place + 9]) for place in range(0, len(WORDS), 3)]
# Contents of records: short, long, beyond ASCII, and longer than any model's maximum.
ASKED = [
    "Hello",
    "the bridge over the river",
    "ünïcödé 😀 日本語 text",
    " ".join(WORDS[:40]),
    " ".join(WORDS * 3),
]
_SIZE = 400


@cache
def tokenizer(kind: str) -> Any:
    """The tokenizer of a kind: t5, byt5, bart, bert, marian, languages, llama or gpt2."""
    return _KINDS[kind]()


def _trained(inner: Tokenizer, trainer: Any, single: str, pair: str, named: Sequence[str]) -> Tokenizer:
    inner.train_from_iterator([*TEXTS, *WORDS], trainer)
    if named:
        inner.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[(name, inner.token_to_id(name)) for name in named]
        )
    return inner


def _unigram(specials: Sequence[str], single: str, pair: str, named: Sequence[str]) -> Tokenizer:
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=_SIZE, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    return _trained(inner, trainer, single, pair, named)


def _bytes(specials: Sequence[str], single: str, pair: str, named: Sequence[str]) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    return _trained(inner, trainer, single, pair, named)


def _t5() -> Any:
    inner = _unigram(["<pad>", "</s>", "<unk>"], "$A </s>", "$A </s> $B </s>", ["</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=100
    )


def _bart() -> Any:
    inner = _bytes(
        ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<s> $A </s>", "<s> $A </s> </s> $B </s>", ["<s>", "</s>"]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip


def _bert() -> Any:
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=_SIZE, special_tokens=specials, show_progress=False)
    inner = _trained(inner, trainer, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        mask_token="[MASK]", model_max_length=100,
    )  # fmt: skip


def _marian() -> Any:
    inner = _unigram(["</s>", "<unk>", "<pad>"], "$A </s>", "$A </s> $B </s>", ["</s>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=100
    )


def _languages() -> Any:
    codes = ["eng_Latn", "fra_Latn", "deu_Latn"]
    inner = _unigram(
        ["<s>", "<pad>", "</s>", "<unk>", *codes], "eng_Latn $A </s>", "eng_Latn $A </s> $B </s>", ["eng_Latn", "</s>"]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>", extra_special_tokens=codes, model_max_length=100,
    )  # fmt: skip


def _llama() -> Any:
    inner = _bytes(["<unk>", "<s>", "</s>"], "<s> $A", "<s> $A <s> $B", ["<s>"])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.chat_template = (
        "{{ bos_token }}{% for turn in messages %}[{{ turn['role'] }}] {{ turn['content'] }}{% endfor %}"
    )
    return made


def _gpt2() -> Any:
    inner = _bytes(["<|endoftext|>"], "", "", [])
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=end, eos_token=end, unk_token=end)


_KINDS = {
    "t5": _t5, "byt5": ByT5Tokenizer, "bart": _bart, "bert": _bert, "marian": _marian, "languages": _languages,
    "llama": _llama, "gpt2": _gpt2,
}  # fmt: skip
