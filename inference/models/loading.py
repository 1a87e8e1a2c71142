"""From an unpacked artifact to a model in memory, and nothing from anywhere else.

The order matters: the folder is compared with the approved manifest before any file in it is opened for its meaning.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Set before transformers is imported: it reads them once. Nothing here may reach for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from inference.errors import ModelBroken, ModelRefused
from inference.models import gpu, lora, memory
from promotion.client.artifact import manifest_of_folder
from promotion.errors import Invalid

MANIFEST_SHA256 = "PROMOTION_MANIFEST_SHA256"
HF_TASK = "HF_TASK"
HF_MODEL_ID = "HF_MODEL_ID"

TEXT_TO_TEXT = "text2text-generation"
ZERO_SHOT = "zero-shot-classification"
TEXT_GENERATION = "text-generation"
TASKS = {
    "text2text-generation": TEXT_TO_TEXT,
    "summarization": TEXT_TO_TEXT,
    "translation": TEXT_TO_TEXT,
    "zero-shot-classification": ZERO_SHOT,
    "text-generation": TEXT_GENERATION,
}
_AUTO = {
    TEXT_TO_TEXT: AutoModelForSeq2SeqLM,
    ZERO_SHOT: AutoModelForSequenceClassification,
    TEXT_GENERATION: AutoModelForCausalLM,
}
SM_NUM_GPUS = "SM_NUM_GPUS"
INFERENCE_ENGINE = "INFERENCE_ENGINE"
INFERENCE_DTYPE = "INFERENCE_DTYPE"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OWN, PAGED, VLLM = "own", "generate_batch", "vllm"
# Formats that run code when they are opened, or may.
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack", ".mar")
_TOKENIZERS = ("tokenizer.json", "spiece.model", "vocab.txt", "vocab.json")
# What ships beside weights under such a name and is never opened as weights.
_HARMLESS = frozenset({"training_args.bin"})

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, and what its package said that it does. Where vLLM holds it, `model` is None."""

    task: str
    model: PreTrainedModel
    tokenizer: Any
    folder: Path

    @property
    def generation_config(self) -> Any:
        """The defaults that the model carries."""
        if self.model is not None:
            return self.model.generation_config
        if (self.folder / "generation_config.json").exists():
            return GenerationConfig.from_pretrained(self.folder, local_files_only=True)
        return GenerationConfig()


def verify_folder(folder: Path, manifest_sha256: str | None) -> None:
    """Compare an unpacked artifact with what was approved, before anything in it is opened.

    Raises:
        ModelRefused: it differs, or there is nothing to compare with.
    """
    if not folder.is_dir():
        raise ModelRefused(f"There is no model folder {folder}.")
    if not manifest_sha256:
        raise ModelRefused(
            f"Nothing says that this model was approved: {MANIFEST_SHA256} is not set. "
            "For a model of your own, on your own machine, give --unverified."
        )
    found = manifest_of_folder(folder).sha256
    if found != manifest_sha256.strip().lower():
        raise ModelRefused(
            f"{folder} is not what was approved: its manifest is {found}, approved was {manifest_sha256}."
        )


def load(
    folder: Path, *, task: str | None = None, hub_id: str | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """The model in `folder`, on CUDA in 16 bits where there is one, else on the CPU in float32.

    `environment` may name several GPUs (SM_NUM_GPUS), vLLM (INFERENCE_ENGINE), or how exactly to compute (INFERENCE_DTYPE).

    Raises:
        ModelRefused: a hub's id instead of files, pickled weights, code of its own.
        ModelBroken: files missing, weights of another shape, more than there is memory for, an unknown task.
        GpuUnseen: the machine has a GPU that torch doesn't see.
        Invalid: SM_NUM_GPUS, INFERENCE_ENGINE or INFERENCE_DTYPE is wrong.
    """
    if hub_id:
        raise ModelRefused(
            f"{HF_MODEL_ID}={hub_id} names a model on a hub, and only approved files are run. Take it out."
        )
    if lora.is_adapter(folder):
        return _load_adapter(folder, task, environment)
    config = _read_config(folder)
    _refuse_code(folder, config)
    kind = _task_of(task, config)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    gpu.refuse_unseen(os.environ)
    gpus = gpus_of(environment or {})
    if kind == TEXT_GENERATION and by_vllm(environment or {}):
        return Loaded(kind, None, _load_tokenizer(folder), folder)
    dtype = dtype_of(environment or {}, kind)
    memory.check(folder, bytes_each=dtype.itemsize, gpus=gpus)
    model = _load_weights(folder, _AUTO[kind], gpus, dtype)
    if kind == ZERO_SHOT and not any(str(label).lower().startswith("entail") for label in model.config.label2id):
        raise ModelBroken(
            f"config.json names no entailment label, so this is no model for {ZERO_SHOT}: {model.config.label2id}."
        )
    loaded = Loaded(kind, model.eval(), _load_tokenizer(folder), folder)
    log.info("loaded %s for %s on %s, %s", folder, kind, model.device, model.dtype)
    return loaded


def _load_adapter(folder: Path, task: str | None, environment: Mapping[str, str] | None) -> Loaded:
    """An adapter on the base that it is bound to."""
    _refuse_code(folder, {})
    loaded = load(lora.base_of(folder, environment), task=task, environment=environment)
    if loaded.model is None:
        raise ModelBroken("vLLM is given whole models: merge the adapter before packing.")
    changed = lora.apply(loaded.model, folder)
    log.info("put an adapter onto %d weights of %s", changed, loaded.folder)
    return replace(loaded, folder=folder)


def gpus_of(environment: Mapping[str, str]) -> int:
    """How many GPUs the model is to be spread over.

    Raises:
        Invalid: no number, or more than there are.
    """
    text = environment.get(SM_NUM_GPUS, "").strip()
    if not text:
        return 1
    if not text.isdecimal():
        raise Invalid(SM_NUM_GPUS, f"must be a whole number, not {text[:40]!r}.")
    wanted = int(text)
    # 0 and 1 are what SageMaker's SDK says on a machine without GPUs.
    if wanted > 1 and not by_vllm(environment) and wanted > torch.cuda.device_count():
        raise Invalid(SM_NUM_GPUS, f"is {wanted}, and this machine has {torch.cuda.device_count()}.")
    return max(1, wanted)


def dtype_of(environment: Mapping[str, str], task: str | None = None) -> torch.dtype:
    """How exactly the model computes: a CPU without AMX gains little from 16 bits, and loses digits as any device does.

    Scores of zero-shot classification are compared with each other, so there a GPU computes in float16: as fast as bfloat16,
    and eight times as exact. Texts are for bfloat16, as T5 and its kin leave float16's range.

    Raises:
        Invalid: none that there is, or float16 for texts.
    """
    named = environment.get(INFERENCE_DTYPE, "").strip()
    if named and named not in _DTYPES:
        raise Invalid(INFERENCE_DTYPE, f"must be {' or '.join(_DTYPES)}, not {named[:40]!r}.")
    if named == "float16" and task not in (None, ZERO_SHOT):
        raise Invalid(INFERENCE_DTYPE, f"is float16, and numbers of {task} leave its range: take bfloat16.")
    if named:
        return _DTYPES[named]
    if not torch.cuda.is_available():
        return torch.float32
    return torch.float16 if task == ZERO_SHOT else torch.bfloat16


def by_vllm(environment: Mapping[str, str]) -> bool:
    """Whether decoders are left to vLLM: where there are several GPUs, or where the package says so.

    Raises:
        Invalid: an engine that there is not.
    """
    engine = environment.get(INFERENCE_ENGINE, "").strip() or None
    if engine not in (None, OWN, PAGED, VLLM):
        raise Invalid(INFERENCE_ENGINE, f"must be {OWN}, {PAGED} or {VLLM}, not {engine!r}.")
    several = environment.get(SM_NUM_GPUS, "").strip() not in ("", "0", "1")
    return engine == VLLM or (engine is None and several)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelBroken("config.json is missing: this is no folder in Hugging Face's layout.") from None
    except ValueError as error:
        raise ModelBroken(f"config.json can't be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelBroken("config.json holds no object.")
    return config


def _refuse_code(folder: Path, config: dict[str, Any]) -> None:
    paths = [path for path in folder.rglob("*") if path.name not in _HARMLESS]
    if not any(path.suffix == ".safetensors" for path in paths):
        found = ", ".join(sorted(path.name for path in paths if path.suffix in _PICKLED)) or "nothing"
        raise ModelRefused(f"Only safetensors weights are opened, and there are none here (found: {found}).")
    asked = [config, *(_fields(folder / name) for name in ("tokenizer_config.json", "generation_config.json"))]
    if any(path.suffix == ".py" for path in paths) or any("auto_map" in fields for fields in asked):
        raise ModelRefused("This model brings code of its own (auto_map or *.py); such code is not run.")
    links = sorted(path.name for path in paths if path.is_symlink())
    if links:
        raise ModelRefused(f"Links in a model folder are not followed: {', '.join(links)}.")


def _fields(path: Path) -> dict[str, Any]:
    """A file that may be missing or broken; whoever needs it says so."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _task_of(named: str | None, config: dict[str, Any]) -> str:
    if named:
        # A translation task carries its languages: translation_en_to_fr.
        known = TASKS.get("translation" if named.startswith("translation_") else named)
        if known is None:
            raise ModelBroken(f"{HF_TASK}={named} is not a task of this pipeline; there are {', '.join(TASKS)}.")
        return known
    architectures = [str(name) for name in config.get("architectures") or []]
    if any(name.endswith("ForConditionalGeneration") for name in architectures):
        return TEXT_TO_TEXT
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return ZERO_SHOT
    if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        return TEXT_GENERATION
    raise ModelBroken(
        f"{HF_TASK} is not set, and config.json's architectures ({', '.join(architectures) or 'none'}) do not tell."
    )


def _load_weights(folder: Path, auto: Any, gpus: int, dtype: torch.dtype) -> PreTrainedModel:
    on_cuda = torch.cuda.is_available()
    # One worker, and the layers dealt out: an encoder-decoder is computed by one card after the other.
    spread: dict[str, Any] = {"device_map": "balanced"} if gpus > 1 else {}
    try:
        model, told = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            **spread,
        )
    except torch.OutOfMemoryError as error:
        raise ModelBroken(f"The model is too large for its device: {_first_line(error)}") from error
    except Exception as error:  # transformers raises a dozen kinds for files that it can't use
        raise ModelBroken(f"The weights do not load: {_first_line(error)}") from error
    missing, mismatched = sorted(told["missing_keys"]), sorted(map(str, told.get("mismatched_keys") or ()))
    if missing or mismatched:
        # transformers would fill these with random numbers, and answer.
        raise ModelBroken(f"The weights do not fit config.json: {', '.join((missing + mismatched)[:5])} …")
    try:
        return model.to("cuda") if on_cuda and gpus == 1 else model
    except torch.OutOfMemoryError as error:
        raise ModelBroken(f"The model is too large for its device: {_first_line(error)}") from error


def _load_tokenizer(folder: Path) -> Any:
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise ModelBroken(f"The tokenizer is missing: none of {', '.join(_TOKENIZERS)} is there.")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelBroken(f"The tokenizer does not load: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
