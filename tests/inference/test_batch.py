"""Batch transform: SageMaker's contract, in constant memory, resumed to the same bytes."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference.__main__ import main
from inference.batch.data_processing import NothingFound
from inference.batch.data_processing import Path as JsonPath
from inference.batch.transform import DiskFull, Settings, Transform, payloads
from promotion.errors import Invalid
from tests.inference.conftest import Make
from tests.inference.samples import sentences


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """40 records, with what goes wrong in practice among them."""
    lines = [
        json.dumps({"id": place, "text_inputs": text}).encode() for place, text in enumerate(sentences(36, longest=12))
    ]
    lines[5:5] = [b"", b"not json", b'{"id": "bad", "text_inputs": ""}', b'{"id": 3, "text_inputs": "\xff"}']
    path = tmp_path / "input.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def transformed(make: Make, source: Path, target: Path, **settings: Any) -> list[bytes]:
    with Transform(make, Settings(**settings), identity={}) as transform:
        transform.file(source, target, quiet=True)
    return target.read_bytes().splitlines()


def test_each_line_in_gets_one_line_out(make: Make, source: Path, tmp_path: Path) -> None:
    lines = transformed(make, source, tmp_path / "input.jsonl.out")

    values = [json.loads(line) for line in lines]
    assert len(values) == 40
    assert [value.get("id") for value in values] == [*range(5), None, None, "bad", None, *range(5, 36)]
    assert sum("error" in value for value in values) == 4
    assert {value["approval_id"] for value in values} == {"approval-1"}


def test_counts_are_written_beside_the_output(make: Make, source: Path, tmp_path: Path) -> None:
    transformed(make, source, tmp_path / "input.jsonl.out")

    run = json.loads((tmp_path / "input.jsonl.out.run.json").read_text())
    assert (run["records"], run["errors"]) == (40, 4)
    assert run["ended"] >= run["started"]
    assert sum(run["latency_bins"].values()) == 36


@pytest.mark.parametrize("settings", [{"batch_strategy": "SingleRecord"}, {"max_concurrent_transforms": 2}])
def test_the_strategy_changes_speed_only(make: Make, source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    expected = transformed(make, source, tmp_path / "a.out")

    assert transformed(make, source, tmp_path / "b.out", **settings) == expected


def test_a_payload_stays_under_its_limit() -> None:
    body = b"".join(b"x" * 400_000 + b"\n" for _ in range(7))

    found = list(payloads(io.BytesIO(body), Settings(max_payload_in_mb=1)))

    assert [len(payload) for _, payload in found] == [2, 2, 2, 1]
    assert sum(size for size, _ in found) == len(body)


def test_a_line_longer_than_a_payload_is_an_error_and_the_rest_goes_on(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    huge = json.dumps({"id": 1, "text_inputs": "x" * (3 << 20)}).encode()
    source.write_bytes(b'{"id": 0, "text_inputs": "fox"}\n' + huge + b'\n{"id": 2, "text_inputs": "fox"}')

    first, second, third = (json.loads(line) for line in transformed(make, source, tmp_path / "o", max_payload_in_mb=1))

    assert first["generated_texts"] == third["generated_texts"]
    assert "longer than a payload of 1 MB" in second["error"]


def test_an_empty_file_makes_an_empty_output(make: Make, tmp_path: Path) -> None:
    (tmp_path / "input.jsonl").touch()

    assert transformed(make, tmp_path / "input.jsonl", tmp_path / "o") == []


# Writes the journal after every record, and kills itself, as hard as can be, with the hundredth entry.
KILLED = """
import os, signal, sys
from inference.batch import transform as batch
from inference.__main__ import main
save, entries = batch._save, []
def killed(*given):
    save(*given)
    entries.append(given)
    if len(entries) == 100:
        os.kill(os.getpid(), signal.SIGKILL)
batch._save, batch._JOURNAL_SECONDS = killed, -1.0
sys.exit(main(sys.argv[1:]))
"""


def test_killed_half_way_it_goes_on_and_ends_with_the_same_bytes(t5_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    asked = sentences(300, longest=8)
    source.write_bytes(
        b"".join(json.dumps({"id": n, "text_inputs": text}).encode() + b"\n" for n, text in enumerate(asked))
    )

    def command(output: str) -> list[str]:
        options = ["--model-dir", str(t5_folder), "--unverified", "--batch-strategy", "SingleRecord", "--quiet"]
        return ["batch", *options, "--input", str(source), "--output", str(tmp_path / output)]

    journal = tmp_path / "killed" / ".input.jsonl.out.journal"
    killed = subprocess.run([sys.executable, "-c", KILLED, *command("killed")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert json.loads(journal.read_text())["lines"] == 100
    # What was written after the last journal entry is cut off, not written twice.
    with (tmp_path / "killed" / ".input.jsonl.out.part").open("ab") as partial_output:
        partial_output.write(b"half a li")

    assert main(command("killed")) == 0
    assert main(command("whole")) == 0

    assert (tmp_path / "killed" / "input.jsonl.out").read_bytes() == (
        tmp_path / "whole" / "input.jsonl.out"
    ).read_bytes()
    assert json.loads((tmp_path / "killed" / "input.jsonl.out.run.json").read_text())["records"] == 300
    assert not journal.exists()


def test_another_jobs_journal_is_no_use(make: Make, source: Path, tmp_path: Path) -> None:
    expected = transformed(make, source, tmp_path / "a.out")
    (tmp_path / ".b.out.part").write_bytes(b"old\n")
    (tmp_path / ".b.out.journal").write_text(
        json.dumps({"job": "another", "lines": 1, "read_bytes": 40, "written_bytes": 4, "run": None})
    )

    assert transformed(make, source, tmp_path / "b.out") == expected


def test_a_full_disk_is_said_and_the_next_start_goes_on(
    make: Make, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"The disk is full.*start again"):
            transformed(make, source, tmp_path / "a.out")
    assert not (tmp_path / "a.out").exists()

    assert len(transformed(make, source, tmp_path / "a.out")) == 40


RECORD = {"a": {"b": [1, 2, 3]}, "id": 7, "x y": "z"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", RECORD), ("$.a", {"b": [1, 2, 3]}), ("$.a.b", [1, 2, 3]), ("$['x y']", "z"), ("$.a.b[0]", 1),
        ("$.a.b[-1]", 3), ("$.a.b[1:]", [2, 3]), ("$.a.b[0,2]", [1, 3]), ("$['id','x y']", {"id": 7, "x y": "z"}),
        ("$.a.*", [[1, 2, 3]]),
    ],
)  # fmt: skip
def test_a_filter_selects_as_sagemaker_does(path: str, value: object) -> None:
    assert JsonPath.parse("InputFilter", path).of(RECORD) == value


@pytest.mark.parametrize("path", ["$.nothing", "$.id.x", "$.a.b[9]", "$['p','q']", "$.id[0]"])
def test_a_filter_that_leads_nowhere_says_so(path: str) -> None:
    with pytest.raises(NothingFound, match="finds nothing"):
        JsonPath.parse("InputFilter", path).of(RECORD)


@pytest.mark.parametrize("path", ["", "a", "$..a", "$[", "$['a]", "$.a[?(@.b)]", "$ "])
def test_a_filter_beyond_sagemakers_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="InputFilter"):
        Settings(input_filter=path)


def test_input_and_output_are_filtered_and_joined(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    asked = {"id": 1, "body": {"id": 9, "text_inputs": "the fox"}, "flag": True}
    source.write_text(json.dumps(asked) + "\n" + json.dumps({"id": 2}) + "\n")

    joined = transformed(make, source, tmp_path / "j", input_filter="$.body", join_source="Input")
    chosen = transformed(
        make, source, tmp_path / "c", input_filter="$.body", join_source="Input",
        output_filter="$['id','SageMakerOutput']",
    )  # fmt: skip
    alone = transformed(make, source, tmp_path / "a", input_filter="$.body", output_filter="$.generated_texts")

    first, second = (json.loads(line) for line in joined)
    assert first["body"] == asked["body"]
    assert first["SageMakerOutput"]["id"] == 9
    assert "finds nothing" in second["SageMakerOutput"]["error"]
    assert set(json.loads(chosen[0])) == {"id", "SageMakerOutput"}
    assert json.loads(alone[0]) == first["SageMakerOutput"]["generated_texts"]


def test_filtered_input_is_read_as_it_was_written(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    ask = {"id": 1, "text_inputs": "the fox \u2028", "do_sample": True, "top_k": None, "num_return_sequences": 2}
    source.write_text(json.dumps({"ask": ask}) + "\n")

    [line] = transformed(make, source, tmp_path / "o", input_filter="$.ask")

    assert len(json.loads(line)["generated_texts"]) == 2


def test_a_filter_that_finds_nothing_is_an_error_of_its_record_and_counted(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "input.jsonl"
    source.write_text('{"id": 1, "ask": {"id": 1, "text_inputs": "fox"}}\n{"id": 2}\nbad\n')

    given = transformed(make, source, tmp_path / "i", input_filter="$.ask", output_filter="$['generated_texts']")
    kept = transformed(make, source, tmp_path / "o", input_filter="$.ask", output_filter="$.error")

    assert [json.loads(line) for line in given[1:]] == [[""], [""]]
    first, second, third = (json.loads(line) for line in kept)
    assert first == {
        "id": 1, "approval_id": "approval-1", "error": "OutputFilter: $.error finds nothing in this record.",
        "generated_texts": [""],
    }  # fmt: skip
    assert second == "record 2: InputFilter: $.ask finds nothing in this record."
    assert "not JSON" in third
    counted = [json.loads((tmp_path / f"{name}.run.json").read_text())["errors"] for name in ("i", "o")]
    assert counted == [2, 3]


def test_files_that_are_done_are_left_as_they_are(t5_folder: Path, tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_bytes(source.read_bytes())
    common = ["batch", "--model-dir", str(t5_folder), "--unverified", "--quiet"]
    places = ["--input", str(folder), "--output", str(tmp_path / "out")]
    assert main([*common, *places]) == 0
    first, second = tmp_path / "out" / "a.jsonl.out", tmp_path / "out" / "b.jsonl.out"
    whole, made = second.read_bytes(), first.stat().st_mtime_ns
    # As if it had been killed between the output and the word that it is whole.
    second.write_bytes(whole[:-5])

    assert main([*common, *places]) == 0

    assert first.stat().st_mtime_ns == made
    assert second.read_bytes() == whole
    assert main([*common, *places, "--hyper-params", "{'max_length': 3}"]) == 0
    assert first.read_bytes() != whole


def test_a_bar_tells_how_far_it_is_and_how_fast(
    make: Make, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Transform(make, Settings(), identity={}) as transform:
        transform.file(source, tmp_path / "o")

    said = capsys.readouterr().err
    assert "input.jsonl" in said
    assert "40/40" in said
    assert "records/s" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_strategy", "All"),
        ("join_source", "Output"),
        ("max_payload_in_mb", 101),
        ("max_concurrent_transforms", 0),
    ],
)
def test_wrong_settings_are_refused_by_sagemakers_name(name: str, value: object) -> None:
    with pytest.raises(Invalid, match=name.title().replace("_", "").replace("Mb", "MB")):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_every_file_below_a_folder_is_transformed(t5_folder: Path, tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "many" / "deeper"
    folder.mkdir(parents=True)
    (folder / "b.jsonl").write_bytes(source.read_bytes())
    (tmp_path / "many" / "a.jsonl").write_bytes(source.read_bytes())

    options = ["--model-dir", str(t5_folder), "--unverified", "--quiet", "--output", str(tmp_path / "out")]
    assert main(["batch", *options, "--input", str(tmp_path / "many"), "--accept", "text/csv"]) == 0

    first, second = tmp_path / "out" / "a.jsonl.out", tmp_path / "out" / "deeper" / "b.jsonl.out"
    assert first.read_bytes() == second.read_bytes()


def test_a_large_input_is_split_without_losing_a_line(tmp_path: Path, source: Path) -> None:
    assert main(["split", "--input", str(source), "--output", str(tmp_path / "parts"), "--lines", "7"]) == 0

    parts = sorted((tmp_path / "parts").iterdir())
    assert [part.name for part in parts] == [f"input-{number:06d}.jsonl" for number in range(6)]
    assert [part.read_bytes().count(b"\n") for part in parts] == [7, 7, 7, 7, 7, 5]
    assert b"".join(part.read_bytes() for part in parts) == source.read_bytes()


def test_parts_are_not_put_among_those_of_an_earlier_split(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = source.rename(tmp_path / "plain")
    command = ["split", "--input", str(plain), "--output", str(tmp_path / "parts"), "--lines", "30"]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}

    assert main(command) == 2

    assert set(before) == {"plain-000000", "plain-000001"}
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert "there is something under" in capsys.readouterr().err


def test_parts_under_a_prefix_give_what_the_whole_gives(t5_folder: Path, tmp_path: Path, source: Path) -> None:
    assert main(["split", "--input", str(source), "--output", str(tmp_path / "parts"), "--lines", "9"]) == 0
    common = ["batch", "--model-dir", str(t5_folder), "--unverified", "--quiet"]

    for name, given in (("a", source), ("b", tmp_path / "parts")):
        assert main([*common, "--input", str(given), "--output", str(tmp_path / name)]) == 0

    parts = sorted(path for path in (tmp_path / "b").iterdir() if path.suffix == ".out")
    assert len(parts) == 5
    assert b"".join(path.read_bytes() for path in parts) == (tmp_path / "a" / "input.jsonl.out").read_bytes()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--hyper-params", "{'top_p': 7}", "--unverified"], 2),
        (["--hyper-params", "open('x')", "--unverified"], 2),
        (["--manifest-sha256", "0" * 64], 4),
        ([], 4),
    ],
)
def test_a_job_that_can_not_run_ends_with_its_exit_code(
    t5_folder: Path, tmp_path: Path, source: Path, options: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [
        "batch",
        "--model-dir",
        str(t5_folder),
        "--input",
        str(source),
        "--output",
        str(tmp_path / "out"),
        "--quiet",
    ]

    assert main([*common, *options], {}) == code

    assert capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_hubs_id_ends_with_4(t5_folder: Path, tmp_path: Path, source: Path) -> None:
    options = ["--model-dir", str(t5_folder), "--unverified", "--quiet", "--input", str(source)]

    assert main(["batch", *options, "--output", str(tmp_path / "out")], {"HF_MODEL_ID": "google/flan-t5-large"}) == 4

    assert not (tmp_path / "out").exists()


def test_a_missing_input_is_said(t5_folder: Path, tmp_path: Path) -> None:
    common = ["batch", "--model-dir", str(t5_folder), "--unverified", "--output", str(tmp_path / "out")]

    assert main([*common, "--input", str(tmp_path / "nothing")], {}) == 2
