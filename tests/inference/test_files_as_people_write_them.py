"""Byte order marks, blank lines, Windows' line ends and gzip, in inputs, outputs and references."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.__main__ import main
from inference.scoring.score import score
from promotion.errors import Invalid

RECORDS: list[dict[str, Any]] = [{"id": n, "text_inputs": text} for n, text in enumerate(["the fox", "a dog", "music"])]
REFERENCES = [{"id": n, "target": "fox"} for n in range(3)]
OUTPUTS = [{"id": n, "generated_texts": ["fox"]} for n in range(3)]


def lines(records: list[Any], end: bytes = b"\n") -> bytes:
    return b"".join(json.dumps(record).encode() + end for record in records)


WAYS: dict[str, Callable[[list[Any]], bytes]] = {
    "mark": lambda records: b"\xef\xbb\xbf" + lines(records),
    "windows": lambda records: b"\xef\xbb\xbf" + lines(records, b"\r\n"),
    "gzip": lambda records: gzip.compress(lines(records)),
    "gzip of a marked file": lambda records: gzip.compress(b"\xef\xbb\xbf" + lines(records, b"\r\n")),
    "no last line end": lambda records: lines(records)[:-1],
}


def batch(folder: Path, content: bytes, place: Path) -> bytes:
    source, output = place / "input.jsonl", place / "out"
    source.write_bytes(content)
    options = ["--model-dir", str(folder), "--unverified", "--quiet", "--input", str(source), "--output", str(output)]
    assert main(["batch", *options]) == 0
    return (output / "input.jsonl.out").read_bytes()


@pytest.fixture(scope="module")
def plain(t5_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return batch(t5_folder, lines(RECORDS), tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("way", WAYS)
def test_an_input_is_answered_alike_however_it_was_written(
    way: str, t5_folder: Path, plain: bytes, tmp_path: Path
) -> None:
    assert batch(t5_folder, WAYS[way](RECORDS), tmp_path) == plain


def test_an_empty_line_is_one_records_error(t5_folder: Path, plain: bytes, tmp_path: Path) -> None:
    found = batch(t5_folder, lines(RECORDS[:1]) + b"\n" + lines(RECORDS[1:]), tmp_path).splitlines()

    assert json.loads(found[1])["error"] == "the line is empty."
    assert [found[0], *found[2:]] == plain.splitlines()


def test_a_damaged_gzip_file_is_named(t5_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "input.jsonl"
    source.write_bytes(gzip.compress(lines(RECORDS * 50))[:-20])
    options = ["--model-dir", str(t5_folder), "--unverified", "--quiet", "--input", str(source)]

    assert main(["batch", *options, "--output", str(tmp_path / "out")]) == 2

    assert "input.jsonl: is a damaged gzip file" in capsys.readouterr().err


def scored(outputs: bytes, references: bytes, place: Path) -> dict[str, Any]:
    for name, content in (("o", outputs), ("r", references)):
        (place / name).write_bytes(content)
    return score(place / "o", place / "r", place / "s")


@pytest.mark.parametrize("way", WAYS)
def test_outputs_and_references_are_joined_however_they_were_written(way: str, tmp_path: Path) -> None:
    found = scored(WAYS[way](OUTPUTS), WAYS[way](REFERENCES), tmp_path)

    assert found["metrics"]["exact_match"]["n"] == 3
    assert found["counts"]["missing_references"] == 0


@pytest.mark.parametrize("line", [b"", b"\r\n", b"not json", b"[1]", b'{"target": "fox"}', b'{"id": 0}', b"\xff\xfe"])
def test_a_reference_that_can_not_be_used_leaves_its_output_without_one(line: bytes, tmp_path: Path) -> None:
    found = scored(lines(OUTPUTS), line + b"\n" + lines(REFERENCES[1:]), tmp_path)

    assert found["metrics"]["exact_match"]["n"] == 2
    assert found["counts"]["missing_references"] == 1


@pytest.mark.parametrize("line", [b"not json", b"[[1]]", b'{"generated_texts": ["fox"]}', b'{"id": 0}'])
def test_an_output_that_can_not_be_joined_is_one_error(line: bytes, tmp_path: Path) -> None:
    found = scored(line + b"\n" + lines(OUTPUTS[1:]), lines(REFERENCES), tmp_path)

    assert found["metrics"]["exact_match"]["n"] == 2
    assert found["counts"]["errors"] == 1


def test_the_warning_names_the_first_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scored(lines(OUTPUTS), lines(REFERENCES) + b"no\n" + b"no\n", tmp_path)

    assert "2 reference lines can't be used; the first: r line 4: the line is not JSON at character 0." in caplog.text


def test_the_score_reports_that_no_reference_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="r line 1: has none of highlights"):
        scored(lines(OUTPUTS), lines([{"id": n, "wrong": "fox"} for n in range(3)]), tmp_path)
