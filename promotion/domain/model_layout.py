"""Problems of a model's files that the inference image would refuse, reported when a version is registered.

Only what names, small documents and the headers of weight files tell: the weights themselves are read by the container, which
refuses the rest at its start (inference/models/). A package with another image is never judged: its own container knows its own
files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from pathlib import PurePosixPath

from promotion.domain import generation_config, weight_files
from promotion.domain.model_tasks import TASKS, TEXT_GENERATION, by_vllm, config_problem, task_named, task_told
from promotion.domain.weight_shapes import shapes_problem

CONFIG = "config.json"
# Kept while an artifact is hashed, up to this size each.
DOCUMENTS = (CONFIG, "tokenizer_config.json", generation_config.FILE, "adapter_config.json")
WEIGHTS = "model.safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
LARGEST_DOCUMENT = 1 << 20
# Characters of a problem, which may quote a document and is stored in the ledger.
LONGEST_PROBLEM = 500
# As in inference/models/configuration.py and tokenizer_files.py; tests/inference/test_registered_layouts.py holds them together.
CODE_FOLDER = "code"
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
WITHOUT_FILES = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")


def bytes_kept(path: str, size: int, begin: bytes) -> int:
    """Return how many bytes of an artifact's member to keep: documents whole, the header of weights.

    Args:
        path: The member's.
        size: Its bytes.
        begin: Its bytes read so far, none at first.
    """
    name = PurePosixPath(path).name
    if name in DOCUMENTS or name.endswith(INDEX_SUFFIX):
        return size if size <= LARGEST_DOCUMENT else 0
    # macOS leaves "._model.safetensors" beside a file, which is none.
    if name.endswith(weight_files.SUFFIX) and not name.startswith("."):
        return weight_files.header_bytes(begin, size)
    return 0


def layout_problem(sizes: Mapping[str, int], documents: Mapping[str, bytes], environment: Mapping[str, str]) -> str:
    """Return why the inference image could not load these files, cut to LONGEST_PROBLEM; empty if no problem is found.

    Args:
        sizes: bytes of every file of the artifact, by path.
        documents: contents by path, as much as `bytes_kept` names.
        environment: the container's variables.
    """
    return _problem(sizes, documents, environment)[:LONGEST_PROBLEM]


def _problem(sizes: Mapping[str, int], documents: Mapping[str, bytes], environment: Mapping[str, str]) -> str:
    files = [PurePosixPath(path) for path in sizes]
    if runs := sorted(filter(_RUNS_CODE.fullmatch, environment)):
        return (
            f"{runs[0]}: the inference image is given no variable by which Python or the system loads code, or runs it."
        )
    if hub := environment.get("HF_MODEL_ID"):
        return f"HF_MODEL_ID={hub} names a model on a hub, and only approved files are run."
    task = environment.get("HF_TASK", "")
    if task and task_named(task) is None:
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
    heads = {path: content for path, content in documents.items() if path.endswith(weight_files.SUFFIX)}
    told = {path: content for path, content in documents.items() if path not in heads}
    if adapter:
        return weight_files.weights_problem(sizes, heads, {})
    folder = top or folders[0]
    problem, read, indexes = _of_folder(folder, files, told)
    problem = problem or weight_files.weights_problem(sizes, heads, indexes)
    return problem or _of_model(folder, read, sizes.keys(), heads, indexes, environment)


def _of_folder(
    folder: PurePosixPath, files: list[PurePosixPath], documents: Mapping[str, bytes]
) -> tuple[str, dict[str, dict[str, object]], dict[str, dict[str, str]]]:
    """Read the documents in the model's folder.

    Returns:
        A problem, the documents by name, and the tensors of each index with the files that hold them.
    """
    here = {path.name for path in files if path.parent == folder}
    read: dict[str, dict[str, object]] = {}
    for path, content in documents.items():
        if PurePosixPath(path).parent != folder:
            continue
        name = PurePosixPath(path).name
        try:
            found = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            return f"{name} can't be read: {str(error)[:200]}", {}, {}
        if not isinstance(found, dict):
            return f"{name} holds no object.", {}, {}
        read[name] = found
    if named := next((name for name, found in read.items() if "auto_map" in found), None):
        return f"{named}: auto_map names code of the model's own, which is not run.", {}, {}
    indexes: dict[str, dict[str, str]] = {}
    for name, found in read.items():
        shards = found.get("weight_map") if name.endswith(INDEX_SUFFIX) else None
        if not isinstance(shards, dict):
            continue
        if missing := sorted(set(map(str, shards.values())) - here):
            return f"{name} names {missing[0]}, which is missing.", {}, {}
        indexes[name] = {str(tensor): str(folder / str(file)) for tensor, file in shards.items()}
    config = read.get(CONFIG, {})
    named_class = read.get("tokenizer_config.json", {}).get("tokenizer_class")
    by_bytes = named_class in WITHOUT_FILES or config.get("model_type") in WITHOUT_TOKENIZER_FILES
    if not here & set(TOKENIZERS) and not by_bytes:
        return f"the tokenizer is missing: none of {', '.join(TOKENIZERS)} is there.", {}, {}
    return "", read, indexes


def _of_model(
    folder: PurePosixPath,
    read: Mapping[str, Mapping[str, object]],
    there: Set[str],
    heads: Mapping[str, bytes],
    indexes: Mapping[str, Mapping[str, str]],
    environment: Mapping[str, str],
) -> str:
    """Return what the documents tell of the model: its type and task, its weights' names and shapes, its defaults."""
    config = read.get(CONFIG, {})
    if problem := config_problem(config, environment):
        return problem
    if problem := generation_config.defaults_problem(read.get(generation_config.FILE, {})):
        return problem
    named = environment.get("HF_TASK", "")
    task = task_named(named) if named else task_told(config)
    whole, index = str(folder / WEIGHTS), indexes.get(f"{WEIGHTS}.index.json")
    if whole not in there and index is None:
        by_pattern = task == TEXT_GENERATION and by_vllm(environment)
        return "" if by_pattern else f"{WEIGHTS} and {WEIGHTS}.index.json are missing: other names are not looked for."
    loaded = {whole} if whole in there else set((index or {}).values())
    if not loaded <= heads.keys():
        return ""
    shapes = weight_files.shapes_in({path: heads[path] for path in loaded})
    return shapes_problem(config, shapes, decodes=task == TEXT_GENERATION)
