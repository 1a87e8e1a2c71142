"""SentencePiece models and folders of tiny models around them, as the families ship them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    NllbTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tests.inference.samples import WORDS, sentences

CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}
_LABELS: dict[str, Any] = {"id2label": CLASSES, "label2id": {name: number for number, name in CLASSES.items()}}
_SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_BOTH = {
    "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 128, "init_std": 0.5,
}  # fmt: skip


def sentencepiece_model(**options: Any) -> bytes:
    """A SentencePiece model of a few dozen pieces."""
    stream = io.BytesIO()
    settings: dict[str, Any] = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sentences(60), *WORDS]), model_writer=stream, **settings
    )
    return stream.getvalue()


def folder_of(kind: str, folder: Path) -> Path:
    """A tiny model of one of the families whose tokenizer is a SentencePiece file alone."""
    torch.manual_seed(4)
    _MAKERS[kind](folder)
    return folder


def _write(folder: Path, name: str, fields: Any) -> None:
    (folder / name).write_text(json.dumps(fields))


def _t5(folder: Path) -> None:
    piece = sentencepiece_model(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    config = T5Config(
        vocab_size=200, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        initializer_factor=2.0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    (folder / "spiece.model").write_bytes(piece)
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "model_max_length": 64})


def _llama(folder: Path) -> None:
    config = LlamaConfig(vocab_size=100, num_key_value_heads=2, max_position_embeddings=128, **_SMALL)
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(model_type="bpe", byte_fallback=False))
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True})


def _xlm_roberta(folder: Path) -> None:
    config = XLMRobertaConfig(
        vocab_size=100, max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
        **_SMALL, **_LABELS,
    )  # fmt: skip
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(sentencepiece_model())
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})


def _deberta(folder: Path) -> None:
    config = DebertaV2Config(vocab_size=100, type_vocab_size=0, **_SMALL, **_LABELS)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    piece = sentencepiece_model(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
                                eos_piece="[SEP]", unk_piece="[UNK]")  # fmt: skip
    (folder / "spm.model").write_bytes(piece)
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm"})


def _marian(folder: Path) -> None:
    piece = sentencepiece_model()
    (folder).mkdir(parents=True)
    read = sentencepiece.SentencePieceProcessor(model_proto=piece)
    pieces = [read.id_to_piece(number) for number in range(read.get_piece_size())]
    kept = ["</s>", "<unk>", *(one for one in pieces if one not in ("<s>", "</s>", "<unk>")), "<pad>"]
    pad = len(kept) - 1
    config = MarianConfig(
        vocab_size=len(kept), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=0,
        bad_words_ids=[[pad]], **_BOTH,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(piece)
    _write(folder, "vocab.json", {one: number for number, one in enumerate(kept)})
    _write(folder, "tokenizer_config.json",
           {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"})  # fmt: skip


def _mbart50(folder: Path) -> None:
    config = MBartConfig(
        vocab_size=250, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **_BOTH
    )
    MBartForConditionalGeneration(config).save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(sentencepiece_model())
    _write(folder, "tokenizer_config.json", {"tokenizer_class": "MBart50Tokenizer", "src_lang": "en_XX"})


def _nllb(folder: Path) -> None:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = NllbTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[],
        extra_special_tokens=["eng_Latn", "fra_Latn", "deu_Latn"],
    )  # fmt: skip
    config = M2M100Config(
        vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **_BOTH
    )
    model = M2M100ForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = tokenizer.convert_tokens_to_ids("fra_Latn")
    model.generation_config.max_new_tokens = 8
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


_MAKERS = {
    "t5": _t5, "llama": _llama, "xlm-roberta": _xlm_roberta, "deberta": _deberta, "marian": _marian,
    "mbart50": _mbart50, "nllb": _nllb,
}  # fmt: skip


def copied(folder: Path, target: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(folder, target)
