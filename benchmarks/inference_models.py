"""Models in the shapes of published ones, with random weights, and a tokenizer of made-up words for their folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

CLASSES = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}, "num_labels": 3,
           "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2}}  # fmt: skip


def t5(width: int, heads: int, hidden: int, layers: int) -> Callable[[], Any]:
    """FLAN-T5's layout: gated, with a head of its own."""
    config = T5Config(
        vocab_size=32_128, d_model=width, d_kv=64, num_heads=heads, d_ff=hidden, num_layers=layers,
        num_decoder_layers=layers, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return lambda: T5ForConditionalGeneration(config)


def bart(width: int, heads: int, hidden: int, layers: int, **classes: Any) -> BartConfig:
    return BartConfig(
        vocab_size=50_265, d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=hidden, decoder_ffn_dim=hidden, max_position_embeddings=1_024,
        dropout=0.0, **classes,
    )  # fmt: skip


def qwen() -> Any:
    """A decoder of 0.5 billion parameters, as Qwen2.5's smallest."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=2_048, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        )
    )  # fmt: skip


def tokenizer_of(model: Any, *, ends: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of made-up words, whose padding and end have the model's ids; `ends`: each text gets its end."""
    config = model.config
    words = [f"t{number}" for number in range(config.vocab_size)]
    pad, end = config.pad_token_id, config.eos_token_id
    unknown = ({0, 1, 2} - {pad, end}).pop()
    words[pad], words[end], words[unknown] = "<pad>", "</s>", "<unk>"
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    if ends:
        made.post_processor = TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", end)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
