"""The task of a model, and whether transformers opens its type for it, told from config.json alone.

The tables are those of the locked transformers; tests/inference/test_registered_layouts.py compares them, and prints new ones.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT_TO_TEXT = "text2text-generation"
ZERO_SHOT = "zero-shot-classification"
TEXT_GENERATION = "text-generation"
# By the names of HF_TASK; a translation carries its languages besides (translation_en_to_fr).
TASKS: Mapping[str, str] = {
    "text2text-generation": TEXT_TO_TEXT,
    "summarization": TEXT_TO_TEXT,
    "translation": TEXT_TO_TEXT,
    "zero-shot-classification": ZERO_SHOT,
    "text-generation": TEXT_GENERATION,
}
# Quantizations whose packages the image lacks; vLLM computes by its own.
_PACKAGED = ("bitsandbytes", "gptq", "awq", "compressed-tensors")
# Classes with a head that generates; the type of the model tells whether there is an encoder.
GENERATING = ("ForConditionalGeneration", "LMHeadModel", "MTModel", "EncoderDecoderModel", "ForTextToText")

ENCODER_DECODERS = frozenset((
    "audioflamingo3", "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "encoder-decoder", "fsmt", "glmasr",
    "granite_speech", "granite_speech_plus", "led", "longt5", "m2m_100", "marian", "mbart", "moss_transcribe_diarize", "mt5",
    "musicflamingo", "mvp", "nemo_speechlm", "nllb-moe", "pegasus", "pegasus_x", "plbart", "prophetnet", "qwen2_audio",
    "qwen3_asr", "seamless_m4t", "seamless_m4t_v2", "switch_transformers", "t5", "t5gemma", "t5gemma2", "umt5",
    "vibevoice_asr", "voxtral", "voxtral_realtime",
))  # fmt: skip
CLASSIFIERS = frozenset((
    "albert", "arcee", "axk1", "axk2", "bart", "bert", "big_bird", "bigbird_pegasus", "biogpt", "bloom", "camembert",
    "canine", "cohere_compass_text", "convbert", "ctrl", "data2vec-text", "deberta", "deberta-v2", "deepseek_v2",
    "deepseek_v3", "diffllama", "distilbert", "doge", "electra", "ernie", "esm", "esmc", "eurobert", "exaone4", "falcon",
    "flaubert", "fnet", "funnel", "gemma", "gemma2", "gemma3", "gemma3_text", "glm", "glm4", "gpt-sw3", "gpt2", "gpt_bigcode",
    "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "gte", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "ibert", "jamba",
    "jetmoe", "jina_embeddings_v3", "layoutlm", "layoutlmv2", "layoutlmv3", "lilt", "llama", "longformer", "luke", "markuplm",
    "mbart", "megatron-bert", "minicpm3", "minimax", "ministral", "ministral3", "mistral", "mistral4", "mixtral",
    "mobilebert", "modernbert", "modernbert-decoder", "modernvbert", "mpnet", "mpt", "mra", "mt5", "mvp", "nemotron",
    "nomic_bert", "nystromformer", "olmo", "olmo2", "olmo3", "openai-gpt", "opt", "perceiver", "persimmon", "phi", "phi3",
    "phimoe", "plbart", "qwen2", "qwen2_moe", "qwen3", "qwen3_5", "qwen3_5_text", "qwen3_moe", "qwen3_next", "reformer",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "seed_oss", "smollm3", "squeezebert", "stablelm",
    "starcoder2", "t5", "t5gemma", "t5gemma2", "tapas", "ultrabert", "ultravbert", "umt5", "xlm", "xlm-roberta",
    "xlm-roberta-xl", "xlnet", "xmod", "yoso", "zamba", "zamba2",
))  # fmt: skip
DECODERS = frozenset((
    "afmoe", "apertus", "arcee", "aria_text", "axk1", "axk2", "bailing_hybrid", "bamba", "bart", "beam", "bert",
    "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "bitnet", "blenderbot", "blenderbot-small", "bloom", "blt",
    "camembert", "codegen", "cohere", "cohere2", "cohere2_moe", "cohere_compass_text", "cpmant", "ctrl", "cwm",
    "data2vec-text", "dbrx", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "diffllama", "doge", "dots1",
    "dots3_note", "dots3_note_text", "electra", "emu3", "ernie", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe",
    "falcon", "falcon_h1", "falcon_mamba", "flex_olmo", "flint", "fuyu", "gemma", "gemma2", "gemma3", "gemma3_text",
    "gemma3n", "gemma3n_text", "gemma4", "gemma4_assistant", "gemma4_text", "gemma4_unified", "gemma4_unified_assistant",
    "gemma4_unified_text", "git", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "got_ocr2", "gpt-sw3", "gpt2",
    "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granite_swa", "granitemoe",
    "granitemoe_swa", "granitemoehybrid", "granitemoeshared", "helium", "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe",
    "hy_v3", "hy_v4", "hyperclovax", "inkling2_text", "inkling_text", "internlm3", "iquestcoder", "jais2", "jamba", "jetmoe",
    "kimi_linear", "kolibri1", "laguna", "lfm2", "lfm2_moe", "lfm3", "llama", "llama4", "llama4_text", "longcat_flash",
    "mamba", "mamba2", "marian", "mbart", "megatron-bert", "mellum", "mimo_v2_flash", "minicpm3", "minimax", "minimax_m2",
    "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "mllama", "modernbert-decoder", "moshi",
    "moss_transcribe_diarize", "mpt", "musicgen", "musicgen_melody", "mvp", "nanochat", "nemotron", "nemotron_h", "olmo",
    "olmo2", "olmo3", "olmo_hybrid", "olmoe", "openai-gpt", "opt", "pegasus", "persimmon", "phi", "phi3", "phi4_multimodal",
    "phimoe", "plbart", "prophetnet", "qwen2", "qwen2_moe", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text",
    "qwen3_5_text", "qwen3_moe", "qwen3_next", "qwen4_exp", "qwen4_exp_text", "recurrent_gemma", "reformer", "rembert",
    "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "rwkv", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "trocr", "vaultgemma", "whisper", "xglm", "xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xlstm", "xmod",
    "youtu", "zamba", "zamba2", "zaya",
))  # fmt: skip
BY_TASK: Mapping[str, frozenset[str]] = {
    TEXT_TO_TEXT: ENCODER_DECODERS,
    ZERO_SHOT: CLASSIFIERS,
    TEXT_GENERATION: DECODERS,
}


def task_told(config: Mapping[str, object]) -> str | None:
    """Return the task that config.json's architectures and type tell; None where they don't."""
    named = config.get("architectures")
    kind = str(config.get("model_type"))
    for name in map(str, named if isinstance(named, list) else []):
        if name.endswith("ForSequenceClassification"):
            return ZERO_SHOT
        # Models that hear have a place in the first table too, and decode as any decoder does.
        if name.endswith(GENERATING) and kind in ENCODER_DECODERS and "audio_config" not in config:
            return TEXT_TO_TEXT
        if name.endswith("ForCausalLM") or (name.endswith(GENERATING) and kind in DECODERS):
            return TEXT_GENERATION
    return None


def task_named(name: str) -> str | None:
    """Return the task that HF_TASK names; None where there is none of that name."""
    return TASKS.get("translation" if name.startswith("translation_") else name)


def by_vllm(environment: Mapping[str, str]) -> bool:
    """Return True if a package's variables have vLLM run its decoder."""
    engine = environment.get("INFERENCE_ENGINE", "").strip()
    return engine == "vllm" or (not engine and environment.get("SM_NUM_GPUS", "").strip() not in ("", "0", "1"))


def config_problem(config: Mapping[str, object], environment: Mapping[str, str]) -> str:
    """Return why the image could not open a model with this config.json; empty where nothing tells.

    Args:
        config: config.json.
        environment: The container's variables.
    """
    named = environment.get("HF_TASK", "")
    task = task_named(named) if named else task_told(config)
    if task is None:
        named_classes = config.get("architectures")
        said = ", ".join(map(str, named_classes)) if isinstance(named_classes, list) else "none"
        return f"config.json's architectures ({said}) do not tell the task; set HF_TASK."
    if task == TEXT_GENERATION and by_vllm(environment):
        return ""
    kind, quantization = config.get("model_type"), config.get("quantization_config")
    if isinstance(kind, str) and kind not in BY_TASK[task]:
        return f"config.json: transformers opens no model of the type {kind[:40]} for {task}."
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method in _PACKAGED:
        return f"config.json: weights quantized by {method} need a package that the image does not have."
    return _classes_problem(config) if task == ZERO_SHOT else ""


def _classes_problem(config: Mapping[str, object]) -> str:
    names, numbers = config.get("id2label"), config.get("label2id")
    labels = names.values() if isinstance(names, dict) else numbers if isinstance(numbers, dict) else ()
    if any(str(label).lower().startswith("entail") for label in labels):
        return ""
    told = ", ".join(map(str, list(labels)[:5])) or "none is named"
    return f"config.json names no entailment label, so this is no model for {ZERO_SHOT}: {told}."
