"""Progress of long commands: on a terminal alone, on one line, and gone at the end."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest

from promotion.cli.progress import CLEARED, Progress
from promotion.client.resolve import check_artifact


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_is_written_if_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with Progress("verify") as line:
        line.at("1 of 2, summariser")
    assert written.getvalue() == ""


def test_a_terminal_shows_one_line_which_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress("verify") as line:
        line.at("1 of 2, summ\x1b[2Jariser")
        line.at("2 of 2, too soon")
    assert shown.getvalue() == f"{CLEARED}verify: 1 of 2, summ [2Jariser{CLEARED}"


def test_an_error_clears_the_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)

    def breaks_off() -> None:
        with Progress("export") as line:
            line.at("100 events read")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks_off()
    assert shown.getvalue().endswith(CLEARED)


def test_counted_items_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress("export") as line:
        assert list(line.counting(iter(range(250)), "events read")) == list(range(250))
    assert "export: 100 events read" in shown.getvalue()


def test_hashing_tells_how_many_bytes_it_has_read() -> None:
    class Body:
        def iter_chunks(self, size: int) -> Iterator[bytes]:
            yield from (b"ab", b"c")

    class Store:
        class exceptions:  # noqa: N801 - as a client of boto3 has it
            ClientError = ValueError

        def get_object(self, **asked: str) -> dict[str, Body]:
            return {"Body": Body()}

    told: list[int] = []
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    check_artifact("s3://models/model.tar.gz", "", digest, s3=Store(), on_bytes=told.append)
    assert told == [2, 3]
