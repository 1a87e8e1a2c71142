"""Loading of a model from an unpacked artifact, and from nowhere else.

The order matters: the folder is compared with the approved manifest before any of its files is parsed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Set before transformers is imported, which reads them once, so that nothing is downloaded from a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from inference.errors import ModelBroken, ModelRefused
from inference.models import generation_defaults, gpu, lora, memory, processor
from inference.models.configuration import (
    TEXT_GENERATION,
    TEXT_TO_TEXT,
    ZERO_SHOT,
    classes_of,
    model_folder,
    read_config,
    refuse_code,
    task_of,
)
from inference.models.named_files import check_named_files
from inference.models.tokenizer_files import first_line, load_tokenizer
from promotion.client.artifact import manifest_of_folder
from promotion.errors import Invalid

MANIFEST_SHA256 = "PROMOTION_MANIFEST_SHA256"
HF_MODEL_ID = "HF_MODEL_ID"

_AUTO = {
    TEXT_TO_TEXT: AutoModelForSeq2SeqLM,
    ZERO_SHOT: AutoModelForSequenceClassification,
    TEXT_GENERATION: AutoModelForCausalLM,
}
SM_NUM_GPUS = "SM_NUM_GPUS"
INFERENCE_ENGINE = "INFERENCE_ENGINE"
INFERENCE_DTYPE = "INFERENCE_DTYPE"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OWN, VLLM, CTRANSLATE2 = "own", "vllm", "ctranslate2"
ENGINES = (OWN, VLLM, CTRANSLATE2)
# Only CTranslate2 computes in eight bits.
INT8 = "int8"

log = logging.getLogger("inference")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to run, with its task from the package. With vLLM, `model` is None."""

    task: str
    model: PreTrainedModel
    tokenizer: Any
    folder: Path

    @property
    def generation_config(self) -> Any:
        """The model's own generation defaults."""
        if self.model is not None:
            return self.model.generation_config
        if (self.folder / "generation_config.json").exists():
            return GenerationConfig.from_pretrained(self.folder, local_files_only=True)
        return GenerationConfig()


def verify_folder(folder: Path, manifest_sha256: str | None) -> None:
    """Compare an unpacked artifact with the approved manifest, before any of its files is parsed.

    Raises:
        ModelRefused: the artifact differs, or there is no manifest to compare with.
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
    """Load the model in `folder`, by default on CUDA in 16 bits, else on the CPU in float32.

    `environment` may set several GPUs (SM_NUM_GPUS), vLLM (INFERENCE_ENGINE), or the precision (INFERENCE_DTYPE).

    Raises:
        ModelRefused: a hub's id instead of files, pickled weights, or custom code.
        ModelBroken: files are missing, weights have another shape or exceed the memory, or the task is unknown.
        GpuUnseen: the machine has a GPU that torch doesn't see.
        Invalid: SM_NUM_GPUS, INFERENCE_ENGINE or INFERENCE_DTYPE is wrong.
    """
    if hub_id:
        raise ModelRefused(
            f"{HF_MODEL_ID}={hub_id} names a model on a hub, and only approved files are run. Take it out."
        )
    if lora.is_adapter(folder):
        return _load_adapter(folder, task, environment)
    whole, folder = folder, model_folder(folder)
    config = read_config(folder)
    refuse_code(whole, config, folder)
    check_named_files(folder, config)
    kind = task_of(task, config)
    generation_defaults.check(folder)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    gpu.refuse_unseen(os.environ)
    gpus = gpus_of(environment or {})
    if kind == TEXT_GENERATION and by_vllm(environment or {}):
        return Loaded(kind, None, load_tokenizer(folder), folder)
    if (environment or {}).get(INFERENCE_ENGINE, "").strip() == CTRANSLATE2 and kind != TEXT_TO_TEXT:
        raise Invalid(INFERENCE_ENGINE, f"is {CTRANSLATE2}, which answers {TEXT_TO_TEXT} only; this model does {kind}.")
    dtype = dtype_of(environment or {}, kind)
    memory.check(folder, bytes_each=dtype.itemsize, gpus=gpus)
    model = _load_weights(folder, kind, config, gpus, dtype)
    if kind == ZERO_SHOT and not any(str(label).lower().startswith("entail") for label in model.config.label2id):
        raise ModelBroken(
            f"config.json names no entailment label, so this is no model for {ZERO_SHOT}: {model.config.label2id}."
        )
    loaded = Loaded(kind, model.eval(), load_tokenizer(folder, model.config.model_type), folder)
    log.info("loaded %s for %s on %s, %s", folder, kind, model.device, model.dtype)
    return loaded


def _load_adapter(folder: Path, task: str | None, environment: Mapping[str, str] | None) -> Loaded:
    """Load an adapter with the base model that it is bound to by hash."""
    refuse_code(folder, {})
    check_named_files(folder, {})
    loaded = load(lora.base_of(folder, environment), task=task, environment=environment)
    if loaded.model is None:
        raise ModelBroken("vLLM is given whole models: merge the adapter before packing.")
    changed = lora.apply(loaded.model, folder)
    log.info("put an adapter onto %d weights of %s", changed, loaded.folder)
    return replace(loaded, folder=folder)


def gpus_of(environment: Mapping[str, str]) -> int:
    """Return the number of GPUs for the model.

    Raises:
        Invalid: SM_NUM_GPUS is no number, or more than the machine has.
    """
    text = environment.get(SM_NUM_GPUS, "").strip()
    if not text:
        return 1
    if not text.isdecimal():
        raise Invalid(SM_NUM_GPUS, f"must be a whole number, not {text[:40]!r}.")
    wanted = int(text)
    # SageMaker's SDK sets 0 or 1 on a machine without GPUs.
    if wanted > 1 and not by_vllm(environment) and wanted > torch.cuda.device_count():
        raise Invalid(SM_NUM_GPUS, f"is {wanted}, and this machine has {torch.cuda.device_count()}.")
    return max(1, wanted)


def dtype_of(environment: Mapping[str, str], task: str | None = None) -> torch.dtype:
    """Return the model's dtype; float32 on CPUs by default, as those without AMX gain little from 16 bits.

    A GPU computes zero-shot classification in float16, because its scores are compared with each other: it is as fast
    as bfloat16, and eight times as precise. Text tasks use bfloat16, because T5 and similar models exceed float16's
    range.

    Raises:
        Invalid: the value is unknown, or float16 for texts.
    """
    named = environment.get(INFERENCE_DTYPE, "").strip()
    engine = environment.get(INFERENCE_ENGINE, "").strip()
    if named == INT8:
        if engine != CTRANSLATE2:
            raise Invalid(INFERENCE_DTYPE, f"is {INT8}, which only {INFERENCE_ENGINE}={CTRANSLATE2} computes in.")
        return torch.float32  # what is converted, and what our own engine behind it computes in
    if named and named not in _DTYPES:
        raise Invalid(INFERENCE_DTYPE, f"must be {' or '.join(_DTYPES)}, not {named[:40]!r}.")
    if named == "float16" and task not in (None, ZERO_SHOT):
        raise Invalid(INFERENCE_DTYPE, f"is float16, and numbers of {task} leave its range: take bfloat16.")
    if named:
        if (
            not torch.cuda.is_available()
            and named != "float32"
            and engine != CTRANSLATE2
            and not processor.computes_16_bits()
        ):
            log.warning(
                "%s is %s, and this processor has no instructions for it: expect to be several times slower than in float32.",
                INFERENCE_DTYPE, named,
            )  # fmt: skip
        return _DTYPES[named]
    if not torch.cuda.is_available():
        return torch.float32
    return torch.float16 if task == ZERO_SHOT else torch.bfloat16


def by_vllm(environment: Mapping[str, str]) -> bool:
    """Return True if vLLM runs the decoder: on several GPUs, or if the package selects it.

    Raises:
        Invalid: the engine is unknown.
    """
    engine = environment.get(INFERENCE_ENGINE, "").strip() or None
    if engine is not None and engine not in ENGINES:
        raise Invalid(INFERENCE_ENGINE, f"must be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, not {engine!r}.")
    several = environment.get(SM_NUM_GPUS, "").strip() not in ("", "0", "1")
    return engine == VLLM or (engine is None and several)


def _load_weights(folder: Path, kind: str, fields: Mapping[str, Any], gpus: int, dtype: torch.dtype) -> PreTrainedModel:
    on_cuda = torch.cuda.is_available()
    # One worker, with the layers distributed: the GPUs compute an encoder-decoder one after the other.
    spread: dict[str, Any] = {"device_map": "balanced"} if gpus > 1 else {}
    classes = classes_of(fields) if kind == ZERO_SHOT else None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if classes:
            # Either table is enough; transformers derives neither from the other.
            config.id2label, config.label2id = classes, {name: number for number, name in classes.items()}
        model, told = _AUTO[kind].from_pretrained(
            folder,
            config=config,
            # The names are reported below, because transformers' own report goes to a log that is silenced.
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
            **spread,
        )
    except torch.OutOfMemoryError as error:
        raise ModelBroken(f"The model is too large for its device: {first_line(error)}") from error
    except Exception as error:  # transformers raises a dozen kinds for files that it can't use
        raise ModelBroken(f"The weights do not load: {first_line(error)}") from error
    if told["mismatched_keys"]:
        name, found, wanted = min(told["mismatched_keys"])
        raise ModelBroken(
            f"The weights do not fit config.json: {name} is {_by(found)}, and config.json makes it {_by(wanted)}."
        )
    if told["missing_keys"]:
        # transformers would initialize these with random numbers and still answer.
        raise ModelBroken(f"The weights do not fit config.json: {', '.join(sorted(told['missing_keys'])[:5])} …")
    try:
        return model.to("cuda") if on_cuda and gpus == 1 else model
    except torch.OutOfMemoryError as error:
        raise ModelBroken(f"The model is too large for its device: {first_line(error)}") from error


def _by(shape: Any) -> str:
    return " by ".join(map(str, shape))
