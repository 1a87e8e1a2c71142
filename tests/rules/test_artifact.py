"""Artifacts: hashed in one pass, hostile archives included."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion.client import artifact
from promotion.client.artifact import HashedArtifact, Manifest, Member, hash_artifact, manifest_of_folder
from promotion.errors import Invalid

FILES = {"config.json": b"{}", "model.safetensors": b"\x00" * 3000, "sub/tokenizer.json": '{"ä": 1}'.encode()}


def tar(members: dict[str, bytes] | list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items() if isinstance(members, dict) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def hashed(data: bytes) -> HashedArtifact:
    return hash_artifact(io.BytesIO(data))


def hashed_or_refused(data: bytes) -> str:
    """The digest, or the field that was refused."""
    try:
        return hashed(data).sha256
    except Invalid as error:
        return error.field


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "w"])
def test_one_pass_gives_the_archives_hash_and_each_members(mode: str) -> None:
    data = tar(FILES, mode)
    found = hashed(data)
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert found.manifest.members == tuple(
        Member(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(FILES.items())
    )


def test_what_sagemaker_unpacks_has_the_same_manifest(tmp_path: Path) -> None:
    data = tar({f"./{name}": content for name, content in FILES.items()})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(tmp_path, filter="data")
    assert manifest_of_folder(tmp_path) == hashed(data).manifest == hashed(tar(FILES)).manifest


def test_the_manifest_digest_is_over_canonical_json() -> None:
    manifest = Manifest((Member("a", 1, "x"), Member("b", link="a")))
    assert manifest.canonical() == b'[{"path":"a","sha256":"x","size":1},{"link":"a","path":"b"}]'
    assert manifest.sha256 == hashlib.sha256(manifest.canonical()).hexdigest()


def test_any_other_file_is_an_artifact_of_one_member() -> None:
    found = hash_artifact(io.BytesIO(b"weights"), name="model.bin")
    assert [member.path for member in found.manifest.members] == ["model.bin"]
    assert hash_artifact(io.BytesIO(b""), name="empty").size == 0


@pytest.mark.parametrize("cut", [10, 100, 2500, -200])
def test_an_archive_cut_within_its_members_is_refused(cut: int) -> None:
    data = tar({"a": os.urandom(5000)})
    with pytest.raises(Invalid, match="damaged"):
        hashed(data[:cut])


def test_a_flipped_byte_in_an_archive_is_refused_or_changes_its_hash() -> None:
    data = bytearray(tar({"a": os.urandom(5000)}))
    before = hashed(bytes(data)).sha256
    data[len(data) // 2] ^= 1
    assert hashed_or_refused(bytes(data)) not in (before, None)


def test_members_that_climb_out_are_named_and_never_written(tmp_path: Path) -> None:
    hostile = ["../../etc/passwd", "/etc/cron.d/x", "a/../../b"]
    found = hashed(tar(dict.fromkeys(hostile, b"x")))
    assert {member.path for member in found.manifest.members} == set(hostile)
    assert list(tmp_path.iterdir()) == []


def test_links_and_devices_stand_in_the_manifest() -> None:
    members = [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "link"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
    ]
    found = {member.path: member.link for member in hashed(tar(members)).manifest.members}
    assert found["link"] == "/etc/passwd"
    assert found["hard"] == "link"
    assert "special file" in str(found["device"])
    assert "special file" in str(found["pipe"])
    assert "folder" not in found


def test_of_two_members_of_a_name_the_last_counts_as_it_does_when_unpacked(tmp_path: Path) -> None:
    first, second = tarfile.TarInfo("a"), tarfile.TarInfo("a")
    data = tar([(first, b"one"), (second, b"two")])
    [member] = hashed(data).manifest.members
    assert member.sha256 == hashlib.sha256(b"two").hexdigest()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(tmp_path, filter="data")
    assert manifest_of_folder(tmp_path) == hashed(data).manifest


def test_a_name_spelt_in_two_ways_is_one_file(tmp_path: Path) -> None:
    data = tar([(tarfile.TarInfo("./a//b"), b"one"), (tarfile.TarInfo("a/./b"), b"two")])
    assert [member.path for member in hashed(data).manifest.members] == ["a/b"]


def test_bytes_after_the_archive_count() -> None:
    data = tar(FILES)
    longer = data + gzip.compress(b"hidden")
    assert hashed(longer).sha256 == hashlib.sha256(longer).hexdigest()
    assert hashed(longer).manifest == hashed(data).manifest


def test_a_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "LARGEST_UNPACKED_BYTES", 10_000)
    with pytest.raises(Invalid, match="unpacks to more than"):
        hashed(tar({"zeros": b"\x00" * 50_000}))
    monkeypatch.setattr(artifact, "MOST_MEMBERS", 3)
    with pytest.raises(Invalid, match="more than 3 members"):
        hashed(tar({f"f{n}": b"" for n in range(5)}))


def test_memory_does_not_grow_with_the_artifact() -> None:
    largest = 0

    class Stream:
        left = 64 << 20

        def read(self, size: int = -1) -> bytes:
            nonlocal largest
            largest = max(largest, size)
            assert size > 0, "never read whole"
            given = min(size, self.left)
            self.left -= given
            return b"\x01" * given

    assert hash_artifact(Stream()).size == 64 << 20
    assert largest <= artifact.CHUNK_BYTES


def test_differences_are_told_by_path() -> None:
    approved = Manifest((Member("a", 1, "x"), Member("b", 1, "x"), Member("c", 1, "x")))
    found = Manifest((Member("a", 1, "x"), Member("b", 1, "y"), Member("d", 1, "x")))
    assert approved.differences(found) == ["c: missing", "d: not in the approved artifact", "b: changed"]
    assert approved.differences(approved) == []


def test_a_folder_with_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Exception, match="neither a file"):
        manifest_of_folder(tmp_path)


@given(st.binary(max_size=400))
@example(b"\x1f\x8b")
@example(b"\x1f\x8b\x08" + b"\x00" * 20)
@example(b"BZh9")
@example(b"\xfd7zXZ\x00")
@example(b"\x00" * 257 + b"ustar" + b"\x00" * 250)
def test_whatever_the_bytes_they_are_hashed_or_refused_by_name(data: bytes) -> None:
    assert hashed_or_refused(data) in (hashlib.sha256(data).hexdigest(), "ModelDataUrl")


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=50), max_size=6))
def test_the_order_of_members_does_not_matter(files: dict[str, bytes]) -> None:
    reverse = dict(reversed(files.items()))
    assert hashed(tar(files)).manifest == hashed(tar(reverse)).manifest
