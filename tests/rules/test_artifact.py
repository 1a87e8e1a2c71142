"""Artifacts: hashed in one pass, hostile archives included."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion.client import archive, folder_artifact
from promotion.client.artifact import HashedArtifact, Manifest, Member, hash_artifact, manifest_of_folder, split_uri
from promotion.errors import Invalid
from tests.fakes import as_client

FILES = {"config.json": b"{}", "model.safetensors": b"\x00" * 3000, "sub/tokenizer.json": '{"ä": 1}'.encode()}


def tar(members: dict[str, bytes] | list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as packed:  # type: ignore[call-overload]
        for name, content in members.items() if isinstance(members, dict) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content) if info.isreg() else 0
            packed.addfile(info, io.BytesIO(content) if info.isreg() else None)
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


def test_one_pass_gives_the_archives_hash_and_each_members() -> None:
    data = tar(FILES)
    found = hashed(data)
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert found.manifest.members == tuple(
        Member(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in sorted(FILES.items())
    )


def test_an_archive_unpacked_by_sagemaker_has_the_same_manifest(tmp_path: Path) -> None:
    data = tar({f"./{name}": content for name, content in FILES.items()})
    with tarfile.open(fileobj=io.BytesIO(data)) as packed:
        packed.extractall(tmp_path, filter="data")
    assert manifest_of_folder(tmp_path) == hashed(data).manifest == hashed(tar(FILES)).manifest


def test_a_link_in_an_unpacked_folder_is_no_approved_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{}")
    approved = manifest_of_folder(tmp_path)
    (tmp_path / "other.json").symlink_to("config.json")
    found = manifest_of_folder(tmp_path)
    assert found.members[-1] == Member("other.json", link="config.json")
    assert approved.differences(found) == ["other.json: not in the approved artifact"]


def test_members_that_do_not_compress_are_hashed_whole() -> None:
    noise = random.Random(7)  # bytes that gzip makes no smaller, the same ones each time
    files = {f"{number:02d}-{'x' * 200}": noise.randbytes(100_000 + number) for number in range(40)}
    found = hashed(tar(files))
    assert {each.path: each.sha256 for each in found.manifest.members} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }


@pytest.mark.parametrize(
    ("limit", "said"), [("MOST_OBJECTS", "more than 1 objects"), ("LARGEST_UNPACKED_BYTES", "more than 1 bytes")]
)
def test_a_folder_beyond_a_limit_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, said: str) -> None:
    listed = [{"Contents": [{"Key": f"m/{name}", "Size": 1, "ETag": "e"} for name in "ab"]}]
    s3 = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: listed))
    monkeypatch.setattr(folder_artifact, limit, 1)
    with pytest.raises(Invalid, match=said):
        folder_artifact.list_folder(as_client(s3), "s3://models/m/")


def test_the_manifest_digest_is_over_canonical_json() -> None:
    manifest = Manifest((Member("a", 1, "x"), Member("b", link="a")))
    assert manifest.canonical() == b'[{"path":"a","sha256":"x","size":1},{"link":"a","path":"b"}]'
    assert manifest.sha256 == hashlib.sha256(manifest.canonical()).hexdigest()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"weights", "is not an archive"),
        (b"", "is not an archive"),
        (tar(FILES, "w"), "a tar archive without compression"),
        (tar(FILES, "w:bz2"), "compressed with bzip2"),
        (tar(FILES, "w:xz"), "compressed with xz"),
        (b"PK\x03\x04 and so on", "a zip file"),
        (gzip.compress(b"weights", mtime=0), "damaged"),
    ],
)
def test_an_archive_that_sagemaker_can_not_unpack_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        hashed(data)


@pytest.mark.parametrize("cut", [10, 100, 2500, -200])
def test_an_archive_cut_within_its_members_is_refused(cut: int) -> None:
    data = tar({"a": os.urandom(5000)})
    with pytest.raises(Invalid, match="damaged"):
        hashed(data[:cut])


@pytest.mark.parametrize(
    ("cut", "said"), [(300, "without an end marker"), (600, "within a member"), (1_600, "within a member")]
)
def test_a_tar_archive_cut_before_it_was_compressed_is_refused(cut: int, said: str) -> None:
    with pytest.raises(Invalid, match=f"the archive is damaged and can't be read to its end: it ends {said}"):
        hashed(gzip.compress(tar(FILES, "w")[:cut]))


class Trickle(io.BytesIO):
    """After its beginning, a stream that comes byte by byte."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if self.tell() else 300)


def test_an_archive_that_comes_byte_by_byte_is_the_same() -> None:
    plain = tar({f"{'x' * 200}/{'y' * 200}/{name}": content for name, content in FILES.items()}, "w")
    parts = [gzip.compress(part, compresslevel=0, mtime=0) for part in (plain[:5_000], plain[5_000:])]
    data = b"".join(parts)
    assert hash_artifact(Trickle(data)) == hash_artifact(io.BytesIO(data))


def test_a_flipped_byte_in_an_archive_is_refused_or_changes_its_hash() -> None:
    data = bytearray(tar({"a": os.urandom(5000)}))
    before = hashed(bytes(data)).sha256
    data[len(data) // 2] ^= 1
    assert hashed_or_refused(bytes(data)) not in (before, None)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/cron.d/x", "a/../../b", "a\\b"])
def test_members_that_climb_out_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="points outside"):
        hashed(tar({name: b"x"}))


@pytest.mark.parametrize("name", ["a\nb", "\u202egnp.exe", "n" * 300, "/".join("a" * 100)])
def test_a_name_that_is_no_file_name_everywhere_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="the name"):
        hashed(tar({name: b"x"}))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_is_not_utf_8_is_refused(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form, encoding="latin-1") as packed:
        packed.addfile(tarfile.TarInfo("mod\udce8le.bin" if form == tarfile.PAX_FORMAT else "mod\xe8le.bin"))
    with pytest.raises(Invalid, match="is not UTF-8"):
        hashed(out.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V", b"D"])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(Invalid, match="link or a device"):
        hashed(
            tar([*((tarfile.TarInfo(name), body) for name, body in FILES.items()), special("x", kind, "config.json")])
        )


def test_a_hard_link_to_an_earlier_file_is_that_file_again(tmp_path: Path) -> None:
    data = tar([(tarfile.TarInfo("./a"), b"one"), special("sub/b", tarfile.LNKTYPE, "./a")])
    with tarfile.open(fileobj=io.BytesIO(data)) as packed:
        packed.extractall(tmp_path, filter="data")
    assert hashed(data).manifest == manifest_of_folder(tmp_path) == hashed(tar({"a": b"one", "sub/b": b"one"})).manifest


@pytest.mark.parametrize("target", ["later", "x", "/etc/passwd", "../a"])
def test_a_hard_link_to_anything_else_is_refused(target: str) -> None:
    with pytest.raises(Invalid, match=r"link or a device|points outside"):
        hashed(tar([special("x", tarfile.LNKTYPE, target), (tarfile.TarInfo("later"), b"")]))


@pytest.mark.parametrize("names", [("a", "a"), ("./a//b", "a/./b"), ("a", "a/b"), ("a/b", "a")])
def test_a_name_that_occurs_twice_is_refused(names: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match=r"more than once|a file and a folder"):
        hashed(tar([(tarfile.TarInfo(name), b"x") for name in names]))


def test_the_gzip_members_of_one_stream_are_one_archive() -> None:
    plain = tar(FILES, "w")
    assert (
        hashed(gzip.compress(plain[:700], mtime=0) + gzip.compress(plain[700:], mtime=0)).manifest
        == hashed(tar(FILES)).manifest
    )


@pytest.mark.parametrize("after", [b"hidden", gzip.compress(b"hidden", mtime=0), tar(FILES)])
def test_bytes_after_the_archive_are_refused(after: bytes) -> None:
    with pytest.raises(Invalid, match=r"follow the end|goes on after"):
        hashed(tar(FILES) + after)


def test_zeros_after_the_archive_are_padding() -> None:
    assert hashed(tar(FILES) + bytes(5000)).manifest == hashed(tar(FILES)).manifest


def test_an_archive_without_its_end_marker_was_cut() -> None:
    with pytest.raises(Invalid, match="without an end marker"):
        hashed(gzip.compress(tar({"a": b"1"}, "w")[:1024], mtime=0))


def test_a_broken_header_is_not_taken_for_the_end() -> None:
    plain = bytearray(tar({"a": b"1", "b": b"2"}, "w"))
    plain[1024 + 150] ^= 1
    with pytest.raises(Invalid, match="damaged"):
        hashed(gzip.compress(plain, mtime=0))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = kind, 1 << 30
    # Newer tarfile modules read the header before this one sees its size.
    with pytest.raises(Invalid, match=r"header of (1073741824 bytes|more than 1048576)"):
        hashed(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)))


def test_headers_upon_headers_are_refused() -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    with pytest.raises(Invalid, match=r"header|damaged"):
        hashed(gzip.compress((info.tobuf(tarfile.GNU_FORMAT) + b"n" + bytes(511)) * 5_000))


def sparse(size: int, *stored: tuple[int, int]) -> bytes:
    """The header of a sparse file in GNU's form: its size, and what is stored of it as (offset, length)."""
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, sum(length for _, length in stored)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for at, (offset, length) in enumerate(stored):
        block[386 + 24 * at : 410 + 24 * at] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_sparse_file_of_a_tebibyte_is_refused() -> None:
    with pytest.raises(Invalid, match="unpacks to more than"):
        hashed(gzip.compress(sparse(1 << 40) + bytes(1024)))


def test_a_sparse_file_is_hashed_as_it_unpacks() -> None:
    data = gzip.compress(sparse(900, (100, 3), (500, 2)) + b"abcde".ljust(512, b"\0") + bytes(1024))
    whole = bytes(100) + b"abc" + bytes(397) + b"de" + bytes(398)
    assert hashed(data).manifest.members == (Member("sparse", 900, hashlib.sha256(whole).hexdigest()),)


@pytest.mark.parametrize("stored", [[(500, 2), (100, 3)], [(100, 3), (102, 2)], [(899, 5)]])
def test_a_sparse_file_with_a_wrong_map_is_refused(stored: list[tuple[int, int]]) -> None:
    with pytest.raises(Invalid, match="the map of the sparse file sparse is wrong"):
        hashed(gzip.compress(sparse(900, *stored) + b"abcde".ljust(512, b"\0") + bytes(1024)))


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"path": "config.json"}, "a global header with path"),
        ({"comment": "x" * 9_000}, "a global header with too much in it"),
    ],
)
def test_a_global_header_that_names_or_fills_all_members_is_refused(headers: dict[str, str], reason: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers=headers) as packed:
        packed.addfile(tarfile.TarInfo("a"))
    with pytest.raises(Invalid, match=reason):
        hashed(out.getvalue())


@pytest.mark.parametrize(
    ("kind", "name"), [(tarfile.DIRTYPE, "sub"), (tarfile.REGTYPE, "."), (tarfile.REGTYPE, "sub/")]
)
def test_a_folder_with_content_is_refused(kind: bytes, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, 5
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(Invalid, match=r"damaged.*folder"):
        hashed(gzip.compress(bytes(block) + b"abcde".ljust(512, b"\0") + bytes(1024)))


def test_a_size_below_zero_is_refused() -> None:
    block = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (-5).to_bytes(12, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    # tarfile itself refuses it since Python 3.13.
    with pytest.raises(Invalid, match=r"a size below zero|is damaged"):
        hashed(gzip.compress(bytes(block) + bytes(1024)))


def test_names_of_more_bytes_than_a_manifest_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_NAME_BYTES", 20)
    with pytest.raises(Invalid, match="more than 20 bytes"):
        hashed(tar(FILES))


def test_padding_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 20_000)
    with pytest.raises(Invalid, match="more than 20000 bytes of padding"):
        hashed(gzip.compress(tar(FILES, "w") + bytes(30_000)))


def test_a_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED_BYTES", 1_000)
    with pytest.raises(Invalid, match="unpacks to more than"):
        hashed(tar({"zeros": b"\x00" * 50_000}))
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    with pytest.raises(Invalid, match="more than 3 members"):
        hashed(tar({f"f{n}": b"" for n in range(5)}))


def test_memory_does_not_grow_with_what_an_archive_unpacks_to() -> None:
    data = tar({"zeros": bytes(64 << 20)})
    tracemalloc.start()
    try:
        assert hashed(data).manifest.members[0].size == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


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
def test_any_bytes_are_hashed_or_refused_by_name(data: bytes) -> None:
    assert hashed_or_refused(data) in (hashlib.sha256(data).hexdigest(), "ModelDataUrl")


@given(st.dictionaries(st.from_regex(r"(folder/)?[a-z]{1,8}\.bin", fullmatch=True), st.binary(max_size=50), max_size=6))
def test_the_order_of_members_does_not_matter(files: dict[str, bytes]) -> None:
    reverse = dict(reversed(files.items()))
    assert hashed(tar(files)).manifest == hashed(tar(reverse)).manifest


@pytest.mark.parametrize(
    "uri", ["", "bucket/key", "https://bucket/key", "s3://", "s3://bucket", "s3://bucket/", "s3:///key"]
)
def test_an_address_that_is_not_of_s3_is_refused(uri: str) -> None:
    with pytest.raises(Invalid, match="is not an s3://bucket/key address"):
        split_uri(uri, "ModelDataUrl")


@pytest.mark.parametrize("bucket", ["arn:aws:s3:::b", "a b", "a?b"])
def test_a_bucket_that_is_none_is_refused(bucket: str) -> None:
    with pytest.raises(Invalid, match="is no name of a bucket"):
        split_uri(f"s3://{bucket}/key", "ModelDataUrl")
