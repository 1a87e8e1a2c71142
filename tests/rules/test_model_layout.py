"""Files that the inference image could not load are reported at registration, by name; other images are not checked."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Mapping

import pytest

from promotion.client import kept_documents
from promotion.client.artifact import hash_artifact
from promotion.client.image_address import is_image
from promotion.domain.model import Container
from promotion.domain.model_layout import bytes_kept, layout_problem
from promotion.domain.sagemaker_model import unservable


def weights(*tensors: str) -> str:
    """A weight file of so many zeros."""
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n, name in enumerate(tensors)}
    )
    return (struct.pack("<Q", len(header)) + header.encode() + bytes(4 * len(tensors))).decode()


PLAIN: dict[str, str] = {
    "config.json": '{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}',
    "model.safetensors": weights("a", "b"),
    "tokenizer.json": "{}",
}


def problem(files: Mapping[str, str], **environment: str) -> str:
    """Return the problem of an artifact with these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    hashed = hash_artifact(io.BytesIO(packed.getvalue()), keep=bytes_kept)
    sizes = {member.path: member.size for member in hashed.manifest.members}
    return layout_problem(sizes, hashed.documents, environment)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONWARNINGS",
            "PYTHONUSERBASE",
            "PYTHONPYCACHEPREFIX",
            "PYTHON",
        ),
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "OPENSSL_CONF", "PATH", "HOME", "BASH_ENV", "ENV"),
        *("CC", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_INJECTION64_PATH", "NCCL_NET_PLUGIN"),
        *("HF_MODULES_CACHE", "VLLM_COMMAND", "VLLM_PLUGINS"),
    ],
)
def test_no_variable_has_the_image_run_the_archives_own_code(name: str) -> None:
    """`code/` is left unrun: Python would begin with its sitecustomize.py, if PYTHONPATH named the folder."""
    files = {**PLAIN, "code/sitecustomize.py": "print('anything')"}
    assert problem(files, **{name: "/opt/ml/model/code"}).startswith(f"{name}: ")


def test_other_variables_are_the_packages_own() -> None:
    usual = (
        "HF_TASK",
        "SAGEMAKER_PROGRAM",
        "SM_NUM_GPUS",
        "PYTHONUNBUFFERED",
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
    )
    ours = (
        "INFERENCE_DTYPE",
        "MAX_TOTAL_TOKENS",
        "VLLM_START_SECONDS",
        "HYPER_PARAMS",
        "TEAM",
        "HOMEPAGE",
        "OPTION_ENV",
    )
    values = dict.fromkeys((*usual, *ours), "1") | {"HF_TASK": "summarization"}
    assert problem(PLAIN, **values) == ""


def without(*names: str) -> dict[str, str]:
    return {name: text for name, text in PLAIN.items() if name not in names}


@pytest.mark.parametrize(
    "files",
    [
        PLAIN,
        {f"model/{name}": text for name, text in PLAIN.items()},
        {**PLAIN, "code/inference.py": "x", "code/requirements.txt": "x", "pytorch_model.bin": "x"},
        {**PLAIN, "checkpoint-500/optimizer.pt": "x", "config.json": "\ufeff" + PLAIN["config.json"]},
        {**without("tokenizer.json"), "spm.model": "x"},
        {**without("tokenizer.json"), "tokenizer_config.json": '{"tokenizer_class": "ByT5Tokenizer"}'},
        {"adapter_config.json": "{}", "base.json": "{}", "adapter_model.safetensors": weights("a")},
        {**PLAIN, "._model.safetensors": "Mac OS X"},
        {**PLAIN, "checkpoint-500/generation_config.json": "{broken"},
        {
            **without("model.safetensors"),
            "model-1.safetensors": weights("a"),
            "model-2.safetensors": weights("b", "c"),
            "model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors", "c": "model-2.safetensors"}}',
        },
    ],
)
def test_files_that_the_image_loads_are_no_problem(files: dict[str, str]) -> None:
    assert problem(files) == ""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (without("config.json"), "config.json is missing"),
        ({f"{folder}/{name}": text for folder in ("a", "b") for name, text in PLAIN.items()}, "several folders"),
        ({**without("model.safetensors"), "pytorch_model.bin": "x"}, "none (found: pytorch_model.bin"),
        ({**without("model.safetensors"), "model.gguf": "x"}, "model.gguf"),
        ({**PLAIN, "modeling.py": "x"}, "modeling.py: code"),
        ({**PLAIN, "config.json": '{"auto_map": {}}'}, "config.json: auto_map"),
        ({**PLAIN, "tokenizer_config.json": '{"auto_map": {}}'}, "tokenizer_config.json: auto_map"),
        ({**PLAIN, "config.json": "{broken"}, "config.json can't be read"),
        ({**PLAIN, "generation_config.json": "[]"}, "generation_config.json holds no object"),
        (
            {**PLAIN, "model.safetensors.index.json": '{"weight_map": {"a": "model-2.safetensors"}}'},
            "names model-2.safetensors, which is missing",
        ),
        (
            {**PLAIN, "model.safetensors.index.json": '{"weight_map": {"lost": "model.safetensors"}}'},
            "model.safetensors.index.json has lost in model.safetensors, and it isn't there",
        ),
        ({**PLAIN, "model.safetensors": "x"}, "model.safetensors is damaged"),
        ({**PLAIN, "model.safetensors": PLAIN["model.safetensors"][:-1]}, "it was cut off"),
        ({**PLAIN, "model.safetensors": PLAIN["model.safetensors"][:30]}, "model.safetensors is damaged"),
        ({**PLAIN, "model.safetensors": "\x7f" * 100}, "model.safetensors is damaged"),
        ({**PLAIN, "model.safetensors": weights("a").replace("[0, 4]", "[0, 9]")}, "it was cut off"),
        ({**PLAIN, "model.safetensors": weights("a").replace("[0, 4]", "{0}[4]")}, "model.safetensors is damaged"),
        (without("tokenizer.json"), "the tokenizer is missing"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": "x"}, "bound to no base"),
    ],
)
def test_files_that_the_image_does_not_load_are_reported_by_name(files: dict[str, str], said: str) -> None:
    assert said in problem(files)


def test_variables_that_no_start_survives_are_told_too() -> None:
    assert "names a model on a hub" in problem(PLAIN, HF_MODEL_ID="gpt2")
    assert "is not a task" in problem(PLAIN, HF_TASK="text-classification")
    assert problem(PLAIN, HF_TASK="translation_en_to_de") == ""


@pytest.mark.parametrize(
    ("image", "ours"),
    [
        ("1.dkr.ecr.eu-west-1.amazonaws.com/promotion:abc", True),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/promotion@sha256:ab", True),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/other:abc", False),
        ("2.dkr.ecr.eu-west-1.amazonaws.com/promotion:abc", False),
    ],
)
def test_our_image_is_told_by_its_repository(image: str, ours: bool) -> None:
    assert is_image(image, "1.dkr.ecr.eu-west-1.amazonaws.com/promotion:latest") is ours


def test_without_an_image_of_ours_nothing_is_judged() -> None:
    assert not is_image("anything:1", "")


def test_large_documents_are_not_kept_and_of_weights_the_header_alone() -> None:
    assert bytes_kept("model/config.json", 10, b"") == 10
    assert bytes_kept("config.json", 2 << 20, b"") == 0
    assert bytes_kept("vocab.json", 10, b"") == 0
    assert bytes_kept("a.safetensors", 1 << 30, b"") == 8
    assert bytes_kept("a.safetensors", 1 << 30, struct.pack("<Q", 900)) == 908
    assert bytes_kept("a.safetensors", 1 << 40, struct.pack("<Q", 1 << 39)) == 8


def test_all_that_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_documents, "LARGEST_KEPT_BYTES", 30)
    kept = kept_documents.KeptDocuments(bytes_kept)
    for number in range(4):
        take = kept.begin(f"{number}/config.json", 12)
        for chunk in (b"{}    ", memoryview(b"      ")):
            take(chunk)
    assert kept.contents == {"0/config.json": b"{}          ", "1/config.json": b"{}          "}


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        ([Container(image="a:1")] * 15, ""),
        ([Container(image="a:1")] * 16, "SageMaker takes 15"),
        ([Container(image="a:1"), Container(image="")], "Containers[1].Image"),
        ([Container(image="a:1", environment={f"V{i}": "" for i in range(98)})], ""),
        ([Container(image="a:1", environment={f"V{i}": "" for i in range(99)})], "100 variables"),
        ([Container(image="a:1", environment={"V": "x" * (32 << 10)})], "32 KB"),
    ],
)
def test_files_of_no_model_are_reported_at_registration(containers: list[Container], said: str) -> None:
    found = unservable(containers)
    assert said in found
    assert bool(said) == bool(found)
