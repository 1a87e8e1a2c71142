"""Names of other servers' parameters; a record's field with such a name is a parameter, and never a data field."""

from __future__ import annotations

# Of transformers' generation configuration (a test compares them) and of other servers and pipelines.
FOREIGN = frozenset({
    "add_special_tokens", "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight",
    "assistant_lookbehind", "assistant_model", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "cache_config", "cache_implementation", "clean_up_tokenization_spaces", "compile_config", "constraints",
    "continuous_batching_config", "decoder_start_token_id", "details", "disable_compile", "diversity_penalty",
    "dola_layers", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "eos_token_id",
    "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "force_words_ids",
    "forced_eos_token_id", "function_to_apply", "generate_kwargs", "guidance_scale", "is_assistant",
    "length_penalty", "low_memory", "max_cache_len", "max_input_length", "max_matching_ngram_size", "max_time",
    "min_length", "min_new_tokens", "min_p", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "num_beam_groups", "output_attentions", "output_hidden_states", "output_logits", "output_scores",
    "pad_token_id", "padding", "penalty_alpha", "prefill_chunk_size", "prefix", "prompt_lookup_num_tokens",
    "remove_invalid_values", "renormalize_logits", "repetition_penalty", "return_dict_in_generate",
    "return_full_text", "return_tensors", "return_text", "sequence_bias", "source_lang", "speculation_type",
    "stop", "stop_sequences", "stop_strings", "stream", "suppress_tokens", "target_lang", "target_lookbehind",
    "token_healing", "tokenizer_kwargs", "top_h", "truncate", "truncation", "typical_p", "use_cache", "use_mtp",
    "watermarking_config",
})  # fmt: skip
