"""Files of tables and documents that can't be read are refused by name, and say what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from inference.scoring.documents import gates_of, read_baseline, read_document
from inference.scoring.table_drift import profile_table, table_drift
from inference.scoring.tables import read_table
from promotion.errors import Invalid


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "table holds no file with anything in it"),
        ({"a.csv": b""}, "table holds no file with anything in it"),
        ({"a.jsonl": b'{"x": 1}\n{"x"\n'}, "a.jsonl line 2 is not JSON"),
        ({"a.json": b'{"x"'}, "a.json is not JSON"),
        ({"a.jsonl": b'{"x": 1}\n{}\n'}, "a.jsonl row 2 holds no value"),
        ({"a.jsonl": b'{"x": "\xff"}\n'}, "a.jsonl"),
        ({"a.csv": b"x,y\n1,2\n", "b.csv": b"x,z\n1,2\n"}, "b.csv has the columns x, z, others x, y"),
        ({"a.jsonl.gz": b"no gzip"}, "a.jsonl.gz"),
    ],
)
def test_a_table_that_cant_be_read_is_refused_by_file(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(Invalid) as refused:
        read_table(folder, what="references")
    assert refused.value.field == "references"
    assert said in refused.value.reason


def test_a_table_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is neither a file nor a folder"):
        read_table(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.jsonl", b'{"x": [1, 2], "y": {"z": 3}}\n', {"x.0": [1], "x.1": [2], "y.z": [3]}),
        ("a.json", b'{\n"predictions": [{"x": 1}, {"x": 2}]\n}', {"x": [1, 2]}),
        ("a.json", b"[\n[1, 2],\n[3, 4]\n]", {"0": [1, 3], "1": [2, 4]}),
        ("a.jsonl", b'{"SageMakerOutput": {"score": 0.5}, "id": "a"}\n', {"id": ["a"], "score": [0.5]}),
        ("a.jsonl", b'{"SageMakerOutput": 2, "id": "a"}\n', {"id": ["a"], "prediction": [2]}),
        ("a.jsonl.gz", gzip.compress(b'{"x": 1}\n{"y": 2}\n', mtime=0), {"x": [1, None], "y": [None, 2]}),
    ],
)
def test_rows_of_json_become_columns(
    tmp_path: Path, name: str, content: bytes, columns: dict[str, list[object]]
) -> None:
    (tmp_path / name).write_bytes(content)
    table = read_table(tmp_path / name)
    assert {column: values.to_pylist() for column, values in table.columns.items()} == columns


@pytest.mark.parametrize(("name", "found"), [("x", "x"), ("1", "y"), ("-1", "y"), ("-2", "x")])
def test_a_column_is_named_or_counted_from_either_end(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert read_table(tmp_path / "a.csv").find(name, (), "outputs") == found


@pytest.mark.parametrize("name", ["2", "-3", "--1", "z"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(Invalid, match=f"outputs: has no column '{name}'; there are x, y"):
        read_table(tmp_path / "a.csv").find(name, (), "outputs")


def test_a_truth_value_is_the_class_of_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\ntrue,1\nfalse,0\n")
    table = read_table(tmp_path / "a.csv")
    assert table.texts("x").tolist() == table.texts("y").tolist() == ["1", "0"]


def test_a_document_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        read_document(tmp_path / "gates.json")
    with pytest.raises(Invalid, match="does not exist"):
        read_baseline(tmp_path / "baseline.json")
    (tmp_path / "gates.json").write_text("{")
    with pytest.raises(Invalid, match="is not JSON"):
        read_document(tmp_path / "gates.json")
    assert read_document(None) is None


@pytest.mark.parametrize("document", [{"gates": {"metric": "f1"}}, ["f1"], "f1"])
def test_gates_of_another_form_are_refused(document: object) -> None:
    with pytest.raises(Invalid, match="gates: must be a list of objects"):
        gates_of(document)


def test_a_column_without_values_and_one_of_identifiers_have_no_distribution(tmp_path: Path) -> None:
    (tmp_path / "then.csv").write_text("x,id,none\n" + "".join(f"{n},k{n},inf\n" for n in range(60)))
    baseline = profile_table(read_table(tmp_path / "then.csv"))
    assert list(baseline["columns"]) == ["x"]
    (tmp_path / "now.csv").write_text("x\n" + "inf\n" * 3)
    assert table_drift(baseline, read_table(tmp_path / "now.csv")) == ({}, {})


def test_gates_are_a_list_or_an_objects(tmp_path: Path) -> None:
    gates = [{"metric": "f1", "min": 0.8}]
    assert gates_of(json.loads(json.dumps({"gates": gates}))) == gates_of(gates) == gates
    assert gates_of(None) == gates_of({}) == []


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("score\nNA\n0.5\n", {"score": [None, 0.5]}),
        ("score,label\n,yes\nnull,no\n3,yes\n", {"score": [None, None, 3], "label": ["yes", "no", "yes"]}),
        (',score\na,"0.5"\n', {"": ["a"], "score": [0.5]}),
        ('text,score\n"one, two\nthree",0.5\n', {"text": ["one, two\nthree"], "score": [0.5]}),
        ("score\n0.5", {"score": [0.5]}),
        ("score\r\nNA\r\n0.5\r\n", {"score": [None, 0.5]}),
        ("score\rNA\r0.5\r", {"score": [None, 0.5]}),
        ("score\n", {"score": []}),
        ("NA\n0.5\n", {"0": [None, 0.5]}),
        ("null,a\n0.5,b\n", {"0": [None, 0.5], "1": ["a", "b"]}),
        ("yes\nno\n42\n", {"0": ["yes", "no", "42"]}),
        ("NA\nNA\n", {"0": [None, None]}),
        ("\n \n", {"0": [" "]}),
    ],
)
def test_a_header_is_known_by_the_first_values_below_it(
    tmp_path: Path, text: str, columns: dict[str, list[Any]]
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(text.encode())
    table = read_table(file)
    assert {name: column.to_pylist() for name, column in table.columns.items()} == columns
    assert table.named == (next(iter(columns)) != "0")
