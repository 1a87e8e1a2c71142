"""Archives as GNU tar, bsdtar and Python write them: what is accepted unpacks to the files of its manifest."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from inference.models.unpack import extract
from promotion.client.artifact import hash_artifact, manifest_of_folder
from promotion.errors import Invalid

GNU = [
    ["--format=v7"], ["--format=oldgnu"], ["--format=gnu"], ["--format=ustar"], ["--format=pax"],
    ["--format=gnu", "--sparse"], ["--format=pax", "--sparse"], ["--format=oldgnu", "--sparse"],
    ["--format=pax", "--sparse", "--sparse-version=0.0"], ["--format=pax", "--sparse", "--sparse-version=0.1"],
    ["--format=pax", "--pax-option=globexthdr.name=g,comment=made-by-ci"], ["--owner=0", "--group=0", "--mtime=2020-01-01"],
    ["--sort=name", "--numeric-owner"], ["--hard-dereference"], ["--blocking-factor=1"], ["--xattrs"],
]  # fmt: skip
BSD = [["--format=gnutar"], ["--format=ustar"], ["--format=pax"], ["--format=v7"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as it lies on a disk: nested, with names that aren't ASCII, a file with holes, and a hard link."""
    model = tmp_path / "model"
    (model / "code" / "deep").mkdir(parents=True)
    (model / "config.json").write_bytes(b"{}")
    (model / "code" / "deep" / "tokenizer.json").write_bytes(os.urandom(70_000))
    (model / "empty").mkdir()
    with (model / "weights.safetensors").open("wb") as file:
        for offset in (0, 1 << 20, 3 << 20, 5 << 20, 7 << 20, 9 << 20):
            file.seek(offset)
            file.write(os.urandom(5_000))
        file.truncate(10 << 20)
    os.link(model / "config.json", model / "generation_config.json")
    return model


def check(archive: Path, folder: Path, out: Path) -> None:
    with archive.open("rb") as stream:
        assert hash_artifact(stream).manifest == manifest_of_folder(folder)
    extract(archive, out)
    assert manifest_of_folder(out) == manifest_of_folder(folder)


@pytest.mark.parametrize("options", GNU, ids=" ".join)
def test_gnu_tars_archives_unpack_to_their_manifest(folder: Path, tmp_path: Path, options: list[str]) -> None:
    subprocess.run(["tar", *options, "-czf", tmp_path / "m.tar.gz", "-C", folder, "."], check=True)
    check(tmp_path / "m.tar.gz", folder, tmp_path / "out")


@pytest.mark.parametrize("options", BSD, ids=" ".join)
def test_bsdtars_archives_unpack_to_their_manifest(folder: Path, tmp_path: Path, options: list[str]) -> None:
    program = shutil.which("bsdtar")
    if program is None:
        # CI installs libarchive-tools; Python's own PAX archives are the nearest where it is missing.
        with tarfile.open(tmp_path / "m.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as packed:
            packed.add(folder, ".")
    else:
        subprocess.run([program, *options, "-czf", tmp_path / "m.tar.gz", "-C", folder, "."], check=True)
    check(tmp_path / "m.tar.gz", folder, tmp_path / "out")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["", ".", "./"])
def test_pythons_archives_unpack_to_their_manifest(folder: Path, tmp_path: Path, form: int, name: str) -> None:
    (folder / ("ü" * 40)).write_bytes(b"long and not ASCII")
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz", format=form) as packed:
        for path in sorted(folder.iterdir()):
            packed.add(path, f"{name}/{path.name}".lstrip("/") if name else path.name)
    check(tmp_path / "m.tar.gz", folder, tmp_path / "out")


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_symbolic_link_is_refused_and_dereferenced_is_taken(folder: Path, tmp_path: Path, form: str) -> None:
    (folder / "latest").symlink_to("config.json")
    packing = ["tar", f"--format={form}", "-czf", str(tmp_path / "m.tar.gz"), "-C", str(folder)]
    subprocess.run([*packing, "."], check=True)
    with pytest.raises(Invalid, match="symbolic link"):
        hash_artifact(io.BytesIO((tmp_path / "m.tar.gz").read_bytes()))
    subprocess.run([*packing, "--dereference", "--hard-dereference", "."], check=True)
    (folder / "latest").unlink()
    shutil.copyfile(folder / "config.json", folder / "latest")
    check(tmp_path / "m.tar.gz", folder, tmp_path / "out")


def test_an_appended_duplicate_is_refused(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-cf", tmp_path / "m.tar", "-C", folder, "config.json"], check=True)
    subprocess.run(["tar", "-rf", tmp_path / "m.tar", "-C", folder, "config.json"], check=True)
    subprocess.run(["gzip", tmp_path / "m.tar"], check=True)
    with pytest.raises(Invalid, match="more than once"):
        hash_artifact(io.BytesIO((tmp_path / "m.tar.gz").read_bytes()))
