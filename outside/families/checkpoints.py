"""Families of models in small: one row a family and task, from its configuration alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers_made import tokenizer
from transformers import GenerationConfig

TEXTS, LABELS, DECODER = "text2text-generation", "zero-shot-classification", "text-generation"
NLI = ("contradiction", "neutral", "entailment")


@dataclass(frozen=True)
class Row:
    """One family doing one task."""

    task: str
    name: str
    prefix: str  # of its classes in transformers
    fields: Mapping[str, Any]
    kind: str = "bert"  # of tokenizer
    factor: float = 6.0  # by which matrices are sharpened, so that texts differ
    defaults: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = NLI
    head: str = ""
    config: str = ""
    named_task: str | None = None  # HF_TASK where config.json doesn't tell
    tolerance: float = 1e-5
    make: Callable[[Row], Any] | None = None

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        torch.manual_seed(0)
        model = (self.make or _made)(self)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() >= 2 and weight.is_floating_point():
                    weight.mul_(self.factor)
            out, into = model.get_output_embeddings(), model.get_input_embeddings()
            if self.task == TEXTS and out is not None and out.weight is not into.weight and self.kind in ("t5", "byt5"):
                # Padding is never said: texts of nothing else tie to the last bit, and beams then choose by their neighbours.
                out.weight[0] = 0
        for name, value in self.defaults.items():
            setattr(model.generation_config, name, value)
        model.save_pretrained(folder)
        tokenizer(self.kind).save_pretrained(folder)


_HEADS = {TEXTS: "ForConditionalGeneration", LABELS: "ForSequenceClassification", DECODER: "ForCausalLM"}


def _made(row: Row) -> Any:
    size = len(tokenizer(row.kind))
    labels: dict[str, Any] = {}
    if row.task == LABELS:
        labels = {"id2label": dict(enumerate(row.classes)), "label2id": {one: n for n, one in enumerate(row.classes)}}
    config = getattr(transformers, row.config or f"{row.prefix}Config")
    made = config(**{"vocab_size": size, **row.fields, **labels})
    return getattr(transformers, row.head or row.prefix + _HEADS[row.task])(made)


_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
_BOTH = {
    "d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 128, "bos_token_id": 0,
    "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
_AS_T5 = {**_BOTH, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "decoder_start_token_id": 0}
_SHORT = {"max_length": 24}


def _encoder_pair(row: Row) -> Any:
    size = len(tokenizer(row.kind))
    start = {"bert": (2, 0, 3), "bart": (0, 1, 2)}[row.kind]
    shape = {
        "vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "pad_token_id": start[1], "bos_token_id": start[0], "eos_token_id": start[2],
    }  # fmt: skip
    kind = getattr(transformers, f"{row.prefix}Config")
    both = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        kind(**shape), kind(**shape, is_decoder=True, add_cross_attention=True)
    )
    both.decoder_start_token_id, both.pad_token_id, both.eos_token_id = start
    both.vocab_size = size
    model = transformers.EncoderDecoderModel(both)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start[0], pad_token_id=start[1], eos_token_id=start[2], max_length=24
    )
    return model


def _t5gemma(row: Row) -> Any:
    size = len(tokenizer(row.kind))
    side = transformers.T5GemmaModuleConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=16, pad_token_id=0, eos_token_id=1, bos_token_id=2,
        max_position_embeddings=128,
    )  # fmt: skip
    config = transformers.T5GemmaConfig(encoder=side, decoder=side, vocab_size=size)
    return transformers.T5GemmaForConditionalGeneration(config)


def _texts(name: str, prefix: str, fields: Mapping[str, Any], kind: str = "t5", **more: Any) -> Row:
    return Row(TEXTS, name, prefix, fields, kind, **{"factor": 8.0 if kind != "t5" else 1.0, **more})


TEXT_ROWS = [
    _texts("t5", "T5", _T5),
    _texts("t5-gated-untied", "T5", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, factor=7.0),
    _texts("byt5", "T5", _T5, "byt5", factor=1.0),
    _texts("mt5", "MT5", _T5, factor=7.0),
    _texts("umt5", "UMT5", _T5),
    _texts("longt5-local", "LongT5", {**_T5, "local_radius": 7, "encoder_attention_type": "local"}),
    _texts("longt5-global", "LongT5",
           {**_T5, "local_radius": 7, "global_block_size": 4, "encoder_attention_type": "transient-global"}),
    _texts("switch", "SwitchTransformers",
           {**_T5, "num_decoder_layers": 2, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}),
    _texts("bart", "Bart", {**_BOTH, "forced_eos_token_id": 2}, "bart",
           defaults={"num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 2.0, "min_length": 5, "max_length": 24,
                     "early_stopping": True, "forced_bos_token_id": 0}),
    _texts("mbart", "MBart", _BOTH, "languages", defaults={"num_beams": 5, "max_length": 24, "forced_bos_token_id": 5}),
    _texts("mvp", "Mvp", _BOTH, "bart", defaults=_SHORT),
    _texts("plbart", "PLBart", _BOTH, "bart", defaults=_SHORT),
    _texts("pegasus", "Pegasus", {**_AS_T5, "scale_embedding": True}, factor=8.0,
           defaults={"num_beams": 8, "length_penalty": 0.8, "max_length": 24}),
    _texts("pegasus-x", "PegasusX", {**_AS_T5, "block_size": 16, "num_global_tokens": 4}, factor=8.0, defaults=_SHORT),
    _texts("marian", "Marian",
           {**_BOTH, "pad_token_id": 2, "eos_token_id": 0, "decoder_start_token_id": 2, "forced_eos_token_id": 0},
           "marian", head="MarianMTModel", defaults={"num_beams": 4, "max_length": 24, "bad_words_ids": [[2]]}),
    _texts("m2m100", "M2M100", _BOTH, "languages", defaults=_SHORT),
    _texts("nllb-moe", "NllbMoe", {**_BOTH, "num_experts": 4, "expert_capacity": 64, "encoder_sparse_step": 2,
                                   "decoder_sparse_step": 2}, "languages", defaults=_SHORT),
    _texts("led", "LED", {**{name: value for name, value in _BOTH.items() if name != "max_position_embeddings"},
                          "max_encoder_position_embeddings": 256, "max_decoder_position_embeddings": 128,
                          "attention_window": 16}, "bart",
           defaults={"num_beams": 4, "no_repeat_ngram_size": 3, "max_length": 24}),
    _texts("bigbird-pegasus", "BigBirdPegasus",
           {**_AS_T5, "max_position_embeddings": 256, "decoder_start_token_id": 2, "block_size": 8, "num_random_blocks": 1},
           factor=8.0, defaults={"num_beams": 4, "max_length": 24}),
    _texts("prophetnet", "ProphetNet",
           {"hidden_size": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_encoder_layers": 2, "num_decoder_layers": 2,
            "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "max_position_embeddings": 128,
            "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}, "bert",
           defaults={"num_beams": 4, "max_length": 24}),
    _texts("blenderbot", "Blenderbot", {**_BOTH, "decoder_start_token_id": 0}, "bart",
           defaults={"num_beams": 4, "no_repeat_ngram_size": 3, "encoder_no_repeat_ngram_size": 3, "max_length": 24}),
    _texts("blenderbot-small", "BlenderbotSmall", {**_BOTH, "decoder_start_token_id": 0}, "bart", defaults=_SHORT),
    _texts("t5gemma", "T5Gemma", {}, factor=8.0, make=_t5gemma, defaults=_SHORT),
    _texts("bert2bert", "Bert", {}, "bert", make=_encoder_pair),
    _texts("roberta2roberta", "Roberta", {}, "bart", make=_encoder_pair),
]  # fmt: skip

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_AS_ROBERTA = {**_SMALL, "max_position_embeddings": 130, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
               "type_vocab_size": 1}  # fmt: skip
_DEBERTA = {**_SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
            "type_vocab_size": 0}  # fmt: skip
_DEBERTA_2 = {**_DEBERTA, "position_buckets": 64, "norm_rel_ebd": "layer_norm", "share_att_key": True}
_NAMED = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_CAUSAL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
           "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip


def _labels(name: str, prefix: str, fields: Mapping[str, Any], kind: str = "bert", **more: Any) -> Row:
    return Row(LABELS, name, prefix, fields, kind, **{"factor": 8.0, **more})


LABEL_ROWS = [
    _labels("bart", "Bart", {**_BOTH, "forced_eos_token_id": 2}, "bart"),
    _labels("mbart", "MBart", _BOTH, "bart"),
    _labels("mvp", "Mvp", _BOTH, "bart"),
    _labels("deberta", "Deberta", _DEBERTA),
    _labels("deberta-v2-entailment-first", "DebertaV2", _DEBERTA_2, classes=("ENTAILMENT", "NEUTRAL", "CONTRADICTION")),
    _labels("deberta-v2-two-classes", "DebertaV2", _DEBERTA_2, classes=("entailment", "not_entailment")),
    _labels("roberta", "Roberta", _AS_ROBERTA, "bart", classes=("CONTRADICTION", "NEUTRAL", "ENTAILMENT")),
    _labels("xlm-roberta-neutral-first", "XLMRoberta", _AS_ROBERTA, "bart", classes=("neutral", "entailment", "contradiction")),
    _labels("xlm-roberta-xl", "XLMRobertaXL", _AS_ROBERTA, "bart"),
    _labels("camembert", "Camembert", _AS_ROBERTA, "bart"),
    _labels("roberta-prelayernorm", "RobertaPreLayerNorm", _AS_ROBERTA, "bart"),
    _labels("data2vec", "Data2VecText", _AS_ROBERTA, "bart"),
    _labels("distilbert-entailment-between", "DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
            classes=("contradiction", "entailment", "neutral")),
    _labels("bert", "Bert", _SMALL),
    _labels("modernbert", "ModernBert", {**_SMALL, **_NAMED, "local_attention": 16, "cls_token_id": 2, "sep_token_id": 3}),
    _labels("electra", "Electra", {**_SMALL, "embedding_size": 32}),
    _labels("albert", "Albert", {**_SMALL, "embedding_size": 32}),
    _labels("mpnet", "MPNet", {**_SMALL, "max_position_embeddings": 130, "pad_token_id": 1}, "bart"),
    _labels("ernie", "Ernie", _SMALL),
    _labels("convbert", "ConvBert", {**_SMALL, "embedding_size": 32}),
    _labels("squeezebert", "SqueezeBert", {**_SMALL, "embedding_size": 32}),
    _labels("roformer", "RoFormer", {**_SMALL, "embedding_size": 32}),
    _labels("nystromformer", "Nystromformer", _SMALL),
    _labels("fnet", "FNet", {**_SMALL, "type_vocab_size": 4}),
    _labels("big-bird", "BigBird", {**_SMALL, **_NAMED, "block_size": 4, "num_random_blocks": 1, "max_position_embeddings": 256}),
    _labels("longformer", "Longformer", {**_AS_ROBERTA, "attention_window": 16, "sep_token_id": 2}, "bart"),
    _labels("funnel", "Funnel", {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1]}),
    _labels("xlnet", "XLNet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "pad_token_id": 0}),
    _labels("gpt2-head", "GPT2", {**_NAMED, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    _labels("llama-head", "Llama", {**_CAUSAL, **_NAMED}),
    _labels("mistral-head", "Mistral", {**_CAUSAL, **_NAMED, "sliding_window": None}),
    _labels("qwen2-head", "Qwen2", {**_CAUSAL, **_NAMED}),
    _labels("gemma-head", "Gemma", {**_CAUSAL, **_NAMED, "head_dim": 8}),
    _labels("opt-head", "OPT", {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                                "word_embed_proj_dim": 32, "max_position_embeddings": 256, **_NAMED}),
    _labels("bloom-head", "Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, **_NAMED}),
    _labels("llama-head-without-padding", "Llama", {**_CAUSAL, "bos_token_id": 2, "eos_token_id": 3}),
    _labels("t5-head", "T5", _T5, "t5", factor=1.0, tolerance=5e-5),
    _labels("without-names", "Bert", _SMALL, classes=("LABEL_0", "LABEL_1", "LABEL_2")),
]  # fmt: skip

_LLAMA = {**_CAUSAL, "bos_token_id": 1, "eos_token_id": 2}
_END = {"bos_token_id": 0, "eos_token_id": 0}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, **_END}


def _decoder(name: str, prefix: str, fields: Mapping[str, Any], kind: str = "llama", **more: Any) -> Row:
    return Row(DECODER, name, prefix, fields, kind, **more)


DECODER_ROWS = [
    _decoder("llama", "Llama", _LLAMA),
    _decoder("llama-beams", "Llama", _LLAMA, defaults={"num_beams": 3}),
    _decoder("llama-no-repeat", "Llama", _LLAMA, defaults={"no_repeat_ngram_size": 2}),
    _decoder("llama3-rope-ends", "Llama", {**_LLAMA, "eos_token_id": [2, 5], "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    _decoder("llama4-text", "Llama4", {**_LLAMA, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1,
                                       "intermediate_size_mlp": 64, "attention_chunk_size": 16, "pad_token_id": 0},
             config="Llama4TextConfig"),
    _decoder("mistral-sliding", "Mistral", {**_LLAMA, "sliding_window": 16}),
    _decoder("mixtral", "Mixtral", {**_LLAMA, "num_local_experts": 4}),
    _decoder("qwen2", "Qwen2", {**_LLAMA, "tie_word_embeddings": True}, defaults={"repetition_penalty": 1.05}),
    _decoder("qwen2-moe", "Qwen2Moe", {**_LLAMA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                                       "shared_expert_intermediate_size": 16}),
    _decoder("qwen3", "Qwen3", {**_LLAMA, "head_dim": 8}),
    _decoder("qwen3-moe", "Qwen3Moe", {**_LLAMA, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
                                       "moe_intermediate_size": 16}),
    _decoder("phi", "Phi", {**_LLAMA, **_END}, "gpt2"),
    _decoder("phi3-sliding", "Phi3", {**_LLAMA, "pad_token_id": 0, "sliding_window": 16}),
    _decoder("gemma", "Gemma", {**_LLAMA, "head_dim": 8, "pad_token_id": 0}),
    _decoder("gemma2-sliding", "Gemma2", {**_LLAMA, "head_dim": 8, "pad_token_id": 0, "sliding_window": 16}),
    _decoder("gemma3-sliding", "Gemma3", {**_LLAMA, "head_dim": 8, "pad_token_id": 0, "sliding_window": 16},
             config="Gemma3TextConfig"),
    _decoder("gpt2", "GPT2", _GPT2, "gpt2", head="GPT2LMHeadModel"),
    _decoder("gptj", "GPTJ", {**_GPT2, "rotary_dim": 8}, "gpt2"),
    _decoder("codegen", "CodeGen", {**_GPT2, "rotary_dim": 8}, "gpt2"),
    _decoder("bigcode", "GPTBigCode", _GPT2, "gpt2"),
    _decoder("gpt-neo-local", "GPTNeo", {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 16,
                                         "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 256,
                                         **_END}, "gpt2"),
    _decoder("gpt-neox", "GPTNeoX", {**_SMALL, "max_position_embeddings": 256, **_END}, "gpt2"),
    _decoder("falcon-alibi", "Falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True,
                                        "multi_query": False, **_END}, "gpt2"),
    _decoder("falcon-rope", "Falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **_END}, "gpt2"),
    _decoder("opt", "OPT", {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                            "word_embed_proj_dim": 32, "max_position_embeddings": 256, "bos_token_id": 2, "eos_token_id": 2,
                            "pad_token_id": 1}, "bart"),
    _decoder("bloom", "Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}),
    _decoder("mpt", "Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}, "gpt2"),
    _decoder("stablelm", "StableLm", {**_LLAMA, **_END}, "gpt2"),
    _decoder("xglm", "XGLM", {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4,
                              "max_position_embeddings": 256}, "bart"),
    _decoder("olmo2", "Olmo2", {**_LLAMA, **_END}, "gpt2"),
    _decoder("cohere", "Cohere", {**_LLAMA, "pad_token_id": 0}),
    _decoder("granite", "Granite", {**_LLAMA, "embedding_multiplier": 12.0, "logits_scaling": 8.0}),
    _decoder("smollm3", "SmolLM3", {**_LLAMA, "pad_token_id": 0}),
    _decoder("starcoder2", "Starcoder2", {**_LLAMA, "sliding_window": 16}),
    _decoder("nemotron", "Nemotron", {**_LLAMA, "head_dim": 8}),
    _decoder("glm4", "Glm4", {**_LLAMA, "head_dim": 8, "pad_token_id": 0}),
    _decoder("gpt-oss", "GptOss", {**_LLAMA, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
                                   "sliding_window": 16, "pad_token_id": 0}),
    _decoder("deepseek-v3", "DeepseekV3", {
        **_LLAMA, "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 4, "n_group": 2, "topk_group": 1,
        "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8,
        "qk_nope_head_dim": 8, "first_k_dense_replace": 1}),
    _decoder("bart-decoder", "Bart", {**_BOTH, "is_decoder": True}, "bart"),
    _decoder("mamba", "Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **_END}, "gpt2"),
    _decoder("mamba2", "Mamba2", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "num_heads": 8, "head_dim": 8,
                                  "n_groups": 1, "chunk_size": 8, **_END}, "gpt2"),
    _decoder("jamba", "Jamba", {**_LLAMA, "pad_token_id": 0, "attn_layer_period": 2, "attn_layer_offset": 1,
                                "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4,
                                "use_mamba_kernels": False}),
    _decoder("falcon-h1", "FalconH1", {**_LLAMA, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_state": 8}),
    _decoder("lfm2", "Lfm2", {**_LLAMA, "full_attn_idxs": [1]}),
    _decoder("qwen3-next", "Qwen3Next", {
        **_LLAMA, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}),
    _decoder("recurrent-gemma", "RecurrentGemma", {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "lru_width": 32,
        "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1, "attention_window_size": 16}),
    _decoder("rwkv", "Rwkv", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, **_END}, "gpt2"),
]  # fmt: skip

ROWS = [*TEXT_ROWS, *LABEL_ROWS, *DECODER_ROWS]
