"""Public keys from PEM files: read each time, because a rotation adds a key while pipelines run."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.client.signature import holds, public_keys
from promotion.errors import Invalid
from tests.memory import LocalSigner


def test_a_key_that_is_added_to_the_file_is_taken_without_a_restart(tmp_path: Path) -> None:
    before, after, path = LocalSigner(), LocalSigner("another"), tmp_path / "promotion.pub"
    path.write_text(before.public_key, encoding="ascii")
    assert len(public_keys(str(path))) == 1
    path.write_text(before.public_key + after.public_key, encoding="ascii")
    assert len(public_keys(str(path))) == 2


def test_a_key_that_is_taken_out_of_the_file_holds_nothing_more(tmp_path: Path) -> None:
    stolen, path = LocalSigner(), tmp_path / "promotion.pub"
    path.write_text(stolen.public_key, encoding="ascii")
    assert public_keys(str(path))
    path.write_text(LocalSigner("another").public_key, encoding="ascii")
    assert not holds(public_keys(str(path)), b"record", stolen.sign_text(b"record"))


def test_a_file_with_other_bytes_than_ascii_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "promotion.pub"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="no public key in PEM form"):
        public_keys(str(path))
