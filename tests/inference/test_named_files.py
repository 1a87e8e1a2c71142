"""Every file that a model's files name lies in its folder, in an allowed format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inference.errors import ModelBroken, ModelRefused
from inference.models.loading import load
from inference.models.named_files import check_named_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    save_file({"a": torch.zeros(1)}, model / "decoy.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    (model / "weights.bin").write_bytes(b"pickle")
    (model / "config.json").write_text("{}")
    return model


def write(folder: Path, name: str, document: Any) -> None:
    (folder / name).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/tmp/outside.safetensors", "sub/x.safetensors", "", "..", 3]
)
def test_an_index_that_names_a_file_elsewhere_is_refused(folder: Path, name: Any) -> None:
    write(folder, "model.safetensors.index.json", {"weight_map": {"a": name}})
    with pytest.raises(ModelRefused, match="no file beside it"):
        check_named_files(folder, {})


def test_the_loader_refuses_it_before_anything_opens(folder: Path) -> None:
    write(folder, "model.safetensors.index.json", {"weight_map": {"a": "../outside.safetensors"}})
    with pytest.raises(ModelRefused, match="no file beside it"):
        load(folder)


def test_an_index_that_names_a_pickle_is_refused(folder: Path) -> None:
    write(folder, "model.safetensors.index.json", {"weight_map": {"a": "weights.bin"}})
    with pytest.raises(ModelRefused, match="only safetensors"):
        check_named_files(folder, {})


@pytest.mark.parametrize("document", [{"weight_map": {"a": "gone.safetensors"}}, {"weight_map": []}, [], {}])
def test_an_index_that_names_nothing_there_is_broken(folder: Path, document: Any) -> None:
    write(folder, "model.safetensors.index.json", document)
    with pytest.raises(ModelBroken, match=r"missing|weight_map"):
        check_named_files(folder, {})


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff"])
def test_an_index_that_is_no_json_is_broken(folder: Path, text: str) -> None:
    (folder / "model.safetensors.index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelBroken, match="can't be read"):
        check_named_files(folder, {})


@pytest.mark.parametrize("name", ["../vocab.txt", "/etc/vocab.txt", "weights.bin", "x/../../y"])
def test_a_tokenizer_that_names_a_file_elsewhere_or_a_pickle_is_refused(folder: Path, name: str) -> None:
    write(folder, "tokenizer_config.json", {"vocab_file": name})
    with pytest.raises(ModelRefused, match="vocab_file"):
        check_named_files(folder, {})


def test_a_path_of_the_training_machine_is_the_file_of_that_name(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    write(folder, "tokenizer_config.json", {"tokenizer_file": "/home/somebody/tokenizer.json", "vocab_file": None})
    check_named_files(folder, {})


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_layers", "n_layer", "decoder_layers"])
def test_layers_that_no_weight_file_backs_are_refused(folder: Path, key: str) -> None:
    check_named_files(folder, {key: 1})
    with pytest.raises(ModelBroken, match=f"{key}: 1000000 layers"):
        check_named_files(folder, {key: 1_000_000})


def test_files_of_macos_beside_the_weights_are_no_weight_files(folder: Path) -> None:
    (folder / "._model.safetensors").write_bytes(b"Mac OS X")
    check_named_files(folder, {"num_layers": 1})


def test_a_document_of_more_than_64_mib_is_not_read(folder: Path) -> None:
    with (folder / "tokenizer_config.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(ModelBroken, match=r"tokenizer_config\.json is larger than 67108864 bytes"):
        check_named_files(folder, {})


def test_weights_with_a_header_of_more_than_64_mib_are_not_read(folder: Path) -> None:
    (folder / "decoy.safetensors").write_bytes(((64 << 20) + 1).to_bytes(8, "little"))
    with pytest.raises(ModelBroken, match=r"decoy\.safetensors has a header of 67108865 bytes"):
        check_named_files(folder, {"num_layers": 1})
