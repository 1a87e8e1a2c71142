"""Models small enough to make in a fixture, real in every other way: own tokenizer, safetensors, config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from inference.batch.commands import load_pipeline
from inference.batch.opening import task_for
from inference.models.loading import load
from inference.tasks.pipeline import Pipeline
from tests.inference.llamas import llama
from tests.inference.samples import WORDS

transformers_logging.disable_progress_bar()
torch.set_num_threads(1)

Make = Callable[[], Pipeline]
CLASSES = {0: "contradiction", 1: "neutral", 2: "entailment"}


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 with random weights, large enough that texts differ and end at different steps."""
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = tokenizer_of(["<pad>", "</s>", "<unk>"], single="$A </s>")
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False, initializer_factor=2.0,
        )
    )  # fmt: skip
    with torch.no_grad():
        # Ends become likely enough to occur within a test's few steps, and padding is never said.
        model.lm_head.weight[1] *= 3
        model.lm_head.weight[0] = 0
    model.generation_config.max_new_tokens = 12
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def make(t5_folder: Path) -> Make:
    """Return a function that opens the T5 as a batch does."""
    return partial(load_pipeline, t5_folder, task=None, hub_id=None, hyper_params=None, approval_id="approval-1")


@pytest.fixture(scope="session")
def bart_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART classifier of entailment with random weights."""
    folder = tmp_path_factory.mktemp("bart")
    tokenizer = tokenizer_of(["<s>", "<pad>", "</s>", "<unk>"], single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>")
    torch.manual_seed(2)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=96, dropout=0.0,
        init_std=0.3, num_labels=3, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        id2label=CLASSES, label2id={name: place for place, name in CLASSES.items()},
    )  # fmt: skip
    BartForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT classifier whose entailment comes first, and whose pairs have types."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = tokenizer_of(
        ["[CLS]", "<pad>", "</s>", "<unk>"],
        single="[CLS] $A </s>",
        pair="[CLS] $A </s> $B:1 </s>:1",
        inputs=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=96, initializer_range=0.3, pad_token_id=1,
        id2label={0: "ENTAILMENT", 1: "NOT_ENTAILMENT"}, label2id={"ENTAILMENT": 0, "NOT_ENTAILMENT": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama-2-chat in small: random weights, its chat template, a tokenizer whose characters may span tokens."""
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def texts(t5_folder: Path) -> Pipeline:
    """A pipeline from text to text, without job parameters."""
    return Pipeline(task_for(load(t5_folder)), approval_id="approval-1")


@pytest.fixture(scope="session")
def labels(bart_folder: Path) -> Pipeline:
    """A pipeline of zero-shot classification, without job parameters."""
    return Pipeline(task_for(load(bart_folder)))


@pytest.fixture(autouse=True)
def _one_generator() -> Iterator[None]:
    """No test may lean on what another drew."""
    with torch.random.fork_rng():
        yield


def tokenizer_of(specials: Sequence[str], *, single: str, pair: str | None = None, inputs: Sequence[str] = ()) -> Any:
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    corpus = [" ".join(WORDS), "0123456789", *WORDS]
    inner.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=180, special_tokens=list(specials), show_progress=False)
    )
    named = [(token, inner.token_to_id(token)) for token in specials]
    inner.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=named)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=96,
        model_input_names=list(inputs) or ["input_ids", "attention_mask"],
    )  # fmt: skip
