"""What the inference image would refuse of a model's files, told when a version is registered.

Only what names and small documents tell: the weights themselves are read by the container, which refuses the rest at its start
(inference/models/). A package with another image is never judged: its own container knows its own files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

CONFIG = "config.json"
# Kept while an artifact is hashed, up to this size each.
DOCUMENTS = (CONFIG, "tokenizer_config.json", "generation_config.json", "adapter_config.json")
INDEX_SUFFIX = ".safetensors.index.json"
LARGEST_DOCUMENT = 1 << 20
# As in inference/models/configuration.py and tokenizer_files.py; tests/inference/test_registered_layouts.py holds them together.
CODE_FOLDER = "code"
TASKS = ("text2text-generation", "summarization", "translation", "zero-shot-classification", "text-generation")
TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "sentencepiece.model",
    "source.spm", "spm_char.model", "vocab.txt", "vocab.json", "vocab-src.json", "prophetnet.tokenizer", "byte_maps.json",
)  # fmt: skip
# What has the interpreter, the loader, a compiler or a library run something else, before a single file is compared: with
# PYTHONPATH=/opt/ml/model/code, Python begins with the archive's own code/sitecustomize.py.
_RUNS_CODE = re.compile(
    "PYTHON(?!UNBUFFERED$|DONTWRITEBYTECODE$|HASHSEED$|IOENCODING$|UTF8$).*|LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|OPENSSL_.*|"
    "PATH|HOME|ENV|BASH_.*|XDG_.*|MPL.*|CC|CXX|TRITON_.*|TORCHINDUCTOR_.*|CUDA_(INJECTION.*|HOME|PATH)|NCCL_.*|HF_MODULES_CACHE|"
    "VLLM_(?!START_SECONDS$).*",
    re.ASCII,
)
WITHOUT_TOKENIZER_FILES = ("byt5", "canine", "perceiver")


def is_document(path: str, size: int) -> bool:
    """Whether a member of an artifact is kept to be judged."""
    name = PurePosixPath(path).name
    return size <= LARGEST_DOCUMENT and (name in DOCUMENTS or name.endswith(INDEX_SUFFIX))


def layout_problem(paths: Iterable[str], documents: Mapping[str, bytes], environment: Mapping[str, str]) -> str:
    """Return why the inference image could not load these files; empty where nothing tells that it could not.

    Args:
        paths: every file of the artifact.
        documents: contents by path, of those that `is_document` names.
        environment: the container's variables.
    """
    files = [PurePosixPath(path) for path in paths]
    if runs := sorted(filter(_RUNS_CODE.fullmatch, environment)):
        return (
            f"{runs[0]}: the inference image is given no variable by which Python or the system loads code, or runs it."
        )
    if hub := environment.get("HF_MODEL_ID"):
        return f"HF_MODEL_ID={hub} names a model on a hub, and only approved files are run."
    task = environment.get("HF_TASK", "")
    if task and task not in TASKS and not task.startswith("translation_"):
        return f"HF_TASK={task} is not a task of the inference image; there are {', '.join(TASKS)}."
    adapter = PurePosixPath("adapter_config.json") in files
    if adapter and PurePosixPath("base.json") not in files:
        return "adapter_config.json: the adapter is bound to no base (base.json is missing); merge it, or bind it."
    folders = sorted({path.parent for path in files if path.name == CONFIG and len(path.parts) <= 2}, key=str)
    top = next((folder for folder in folders if folder == PurePosixPath(".")), None)
    if not adapter and not folders:
        return f"{CONFIG} is missing: this is no folder in Hugging Face's layout."
    if not adapter and top is None and len(folders) > 1:
        return f"{CONFIG} is missing at the top, and several folders have one ({', '.join(map(str, folders))})."
    if not any(path.suffix == ".safetensors" for path in files):
        found = ", ".join(sorted({path.name for path in files if path.name not in DOCUMENTS})[:10]) or "nothing"
        return f"only safetensors weights are opened, and there are none (found: {found})."
    if scripts := [str(path) for path in files if path.suffix == ".py" and path.parts[0] != CODE_FOLDER]:
        return (
            f"{scripts[0]}: code of the model's own is not run; write it below {CODE_FOLDER}/, or take another image."
        )
    return "" if adapter else _of_folder(top or folders[0], files, documents)


def _of_folder(folder: PurePosixPath, files: list[PurePosixPath], documents: Mapping[str, bytes]) -> str:
    """What the documents in the model's folder tell."""
    here = {path.name for path in files if path.parent == folder}
    read: dict[str, dict[str, object]] = {}
    for path, content in documents.items():
        if PurePosixPath(path).parent != folder:
            continue
        name = PurePosixPath(path).name
        try:
            found = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            return f"{name} can't be read: {str(error)[:200]}"
        if not isinstance(found, dict):
            return f"{name} holds no object."
        read[name] = found
    if named := next((name for name, found in read.items() if "auto_map" in found), None):
        return f"{named}: auto_map names code of the model's own, which is not run."
    for name, found in read.items():
        shards = found.get("weight_map") if name.endswith(INDEX_SUFFIX) else None
        missing = sorted(set(map(str, shards.values())) - here) if isinstance(shards, dict) else []
        if missing:
            return f"{name} names {missing[0]}, which is missing."
    config = read.get(CONFIG, {})
    if not here & set(TOKENIZERS) and config.get("model_type") not in WITHOUT_TOKENIZER_FILES:
        return f"the tokenizer is missing: none of {', '.join(TOKENIZERS)} is there."
    return ""
