"""Convert a loaded model for CTranslate2, if the environment selects that engine.

The converted weights are written to a temporary directory of this process; the verified folder is only read.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

import torch

from inference.engines import TextEngine
from inference.engines.ctranslate2_engine import NAME, CTranslate2Engine
from inference.engines.encoder_decoder import text_engine
from inference.engines.search import Rules
from inference.errors import ModelBroken
from inference.models.loading import CTRANSLATE2, INFERENCE_DTYPE, INFERENCE_ENGINE, Loaded
from promotion.errors import Invalid

COMPUTE_TYPES = ("float32", "int8", "bfloat16", "float16")

log = logging.getLogger("inference")


def requested_engine(loaded: Loaded, environment: Mapping[str, str]) -> TextEngine | None:
    """Return the engine that `environment` selects; None if it selects none.

    Raises:
        Invalid: this machine doesn't have the engine or the precision.
        ModelBroken: the converted model has no vocabulary.
    """
    if environment.get(INFERENCE_ENGINE, "").strip() != CTRANSLATE2:
        return None
    compute_type = environment.get(INFERENCE_DTYPE, "").strip() or str(loaded.model.dtype).removeprefix("torch.")
    return ctranslate2_engine(loaded, compute_type)


def ctranslate2_engine(loaded: Loaded, compute_type: str) -> TextEngine:
    """Return an engine with the model of `loaded` converted for CTranslate2, and our own engine as its fallback.

    Args:
        loaded: a verified and loaded text-to-text model.
        compute_type: one of COMPUTE_TYPES; int8 only if it was requested.

    Raises:
        Invalid: CTranslate2 is not installed, the processor has no instructions for `compute_type`, CTranslate2 doesn't
            support the model's generation settings, or its converter doesn't support the model.
        ModelBroken: the converted model has no vocabulary.
    """
    try:
        import ctranslate2
    except ImportError:
        raise Invalid(
            INFERENCE_ENGINE, f"is {NAME}, which is not installed: pip install 'model-promotion[ctranslate2]'."
        ) from None
    device = "cuda" if loaded.model.device.type == "cuda" else "cpu"
    known = ctranslate2.get_supported_compute_types(device)
    if compute_type not in known:
        offered = ", ".join(kind for kind in COMPUTE_TYPES if kind in known)
        raise Invalid(
            INFERENCE_DTYPE, f"is {compute_type}, which this {device} has no instructions for; take {offered}."
        )
    start = getattr(loaded.model.config, "decoder_start_token_id", None)
    rules = Rules.of_model(loaded.model.generation_config, start) if start is not None else None
    if rules is None:
        raise Invalid(INFERENCE_ENGINE, f"is {NAME}, which can't do what generation_config.json asks for.")
    target = Path(tempfile.mkdtemp(prefix="ctranslate2-"))
    began = time.perf_counter()
    try:
        converter = ctranslate2.converters.TransformersConverter(str(loaded.folder), low_cpu_mem_usage=True)
        converter.convert(str(target), quantization=compute_type, force=True)
    # AttributeError: a converter reads a field that this release of transformers no longer has, as for BART.
    except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise Invalid(INFERENCE_ENGINE, f"is {NAME}, whose converter does not know this model: {error}") from error
    translator = ctranslate2.Translator(
        str(target), device=device, compute_type=compute_type, inter_threads=1, intra_threads=torch.get_num_threads()
    )
    engine = CTranslate2Engine(translator, _vocabulary(target), rules, compute_type, text_engine(loaded.model))
    # The weights are in memory now; the directory is removed with the engine.
    weakref.finalize(engine, shutil.rmtree, target, ignore_errors=True)
    log.info("converted %s for CTranslate2, %s, in %.1f s", loaded.folder, compute_type, time.perf_counter() - began)
    return engine


def _vocabulary(folder: Path) -> list[str]:
    """Return the target vocabulary of a converted model, by token id."""
    for name in ("shared_vocabulary.json", "target_vocabulary.json"):
        if (folder / name).is_file():
            words: list[str] = json.loads((folder / name).read_text(encoding="utf-8"))
            return words
    raise ModelBroken("CTranslate2 wrote no vocabulary.")
