"""Loading of a model folder's tokenizer, from any of the files that transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from inference.errors import ModelBroken
from inference.models.json_files import read_fields

# One of these is needed; the tokenizer's own class reports which others it needs. A test compares the list with the
# classes of the installed transformers.
NAMES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "sentencepiece.model",
    "source.spm", "spm_char.model", "vocab.txt", "vocab.json", "vocab-src.json", "prophetnet.tokenizer", "byte_maps.json",
)  # fmt: skip
# Tokenizers of bytes or characters have no vocabulary to read.
WITHOUT_FILES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
_ANY_TEXT = "the 0 a"
_CHAT_TEMPLATE = "chat_template.json"
_CONFIG = "tokenizer_config.json"


def load_tokenizer(folder: Path, model_type: str = "") -> Any:
    """Return the tokenizer in `folder`, with the chat template beside it, if there is one.

    Raises:
        ModelBroken: the tokenizer's files are missing or don't load; names them.
    """
    present = [name for name in NAMES if (folder / name).exists()]
    config = read_fields(folder / _CONFIG)
    if not present and not _without_files(config, model_type):
        if (folder / "tekken.json").exists():
            raise ModelBroken("tekken.json alone needs mistral-common, which is not here: add tokenizer.json.")
        raise ModelBroken(f"The tokenizer is missing: none of {', '.join(NAMES)} is there.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises a dozen kinds for files that it can't use
        raise ModelBroken(f"The tokenizer does not load: {first_line(error)}") from error
    if not tokenizer(_ANY_TEXT, add_special_tokens=False)["input_ids"]:
        # transformers returns an empty vocabulary for a file that its class doesn't support, such as tiktoken's.
        raise ModelBroken(f"The tokenizer reads no text: {', '.join(present)} can't be used; add tokenizer.json.")
    if not getattr(tokenizer, "chat_template", None) and (folder / _CHAT_TEMPLATE).exists():
        # Multimodal processors store the template here.
        template = read_fields(folder / _CHAT_TEMPLATE).get("chat_template")
        if not isinstance(template, str):
            raise ModelBroken(f"{_CHAT_TEMPLATE}: chat_template must be a text.")
        tokenizer.chat_template = template
    return tokenizer


def first_line(error: Exception) -> str:
    """Return an error's class and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _without_files(config: dict[str, Any], model_type: str) -> bool:
    return config.get("tokenizer_class") in WITHOUT_FILES or model_type in ("byt5", "canine", "perceiver")
