"""An archive can't reach outside its folder, whatever is in it."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.errors import ModelRefused
from inference.models.unpack import extract
from promotion.client.artifact import hash_artifact, manifest_of_folder


def archive(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                info.mode = 0o777
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(kind: bytes, name: str = "config.json", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_files_come_out_as_they_went_in(tmp_path: Path) -> None:
    extract(archive(tmp_path / "a.tar.gz", ("./config.json", b"{}"), ("sub/dir/x.txt", b"x")), tmp_path / "out")

    assert (tmp_path / "out" / "config.json").read_bytes() == b"{}"
    assert (tmp_path / "out" / "sub" / "dir" / "x.txt").read_bytes() == b"x"
    assert not (tmp_path / "out" / "config.json").stat().st_mode & 0o111


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil"])
def test_a_path_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelRefused, match="points outside"):
        extract(archive(tmp_path / "a.tar.gz", (name, b"x")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(ModelRefused, match="link or a device"):
        extract(archive(tmp_path / "a.tar.gz", special(kind, link="/etc/passwd")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_stopped_before_it_is_written(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.tar.gz", ("a", bytes(2 << 20)), ("b", bytes(2 << 20)))

    with pytest.raises(ModelRefused, match="more than 3145728 bytes"):
        extract(bomb, tmp_path / "out", largest=3 << 20)
    assert not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_many_times_its_size_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promotion.client.archive.ALWAYS_ALLOWED_BYTES", 1 << 20)
    bomb = archive(tmp_path / "a.tar.gz", ("a", bytes(4 << 20)))

    with pytest.raises(ModelRefused, match="more than 1048576 bytes"):
        extract(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    header = special(kind, "name")
    header.size = 8 << 30  # no such bytes follow, and none are asked for
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)))

    with pytest.raises(ModelRefused, match="a header of 8589934592 bytes"):
        extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_hard_link_to_an_earlier_file_comes_out_as_a_file_of_its_own(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.tar.gz", ("a", b"one"), special(tarfile.LNKTYPE, "sub/b", "a"))
    extract(packed, tmp_path / "out")
    with packed.open("rb") as stream:
        assert manifest_of_folder(tmp_path / "out") == hash_artifact(stream).manifest
    assert (tmp_path / "out" / "sub" / "b").stat().st_nlink == 1


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), (".", "b")])
def test_a_file_where_a_folder_must_be_is_damage(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ModelRefused, match="damaged"):
        extract(archive(tmp_path / "a.tar.gz", *((name, b"x") for name in names)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"not an archive",
        lambda data: b"",
        lambda data: data[:300] + b"\0" * 200 + data[500:],
    ],
)
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / "a.tar.gz", ("a", bytes(range(256)) * 4096), mode="w:gz")
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ModelRefused, match=r"damaged|not an archive"):
        extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_can_not_be_opened_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "gone.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
