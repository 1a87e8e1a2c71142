"""Tables from CSV, JSON Lines, JSON and Parquet, for models that return numbers and classes.

A file's columns are named by its header, or by position from 0 if it has none, like SageMaker's CSV for its built-in
algorithms. Values are kept as pyarrow columns: a million lines of ten numbers take about 100 MB.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from inference.records.json_lines import load_value
from inference.scoring.joining import files_under
from promotion.errors import Invalid

Floats = npt.NDArray[np.float64]

PARQUET_MAGIC = b"PAR1"
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Bytes that are read to detect formats and headers.
_PEEKED_BYTES = 1 << 16
# Words for a missing value, besides nothing at all.
_MISSING = ("NA", "NaN", "nan", "null", "None")
# Keys of objects with the answers of many rows, as SageMaker's own algorithms return them.
_LISTS = ("predictions", "instances", "outputs", "results")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length, by name; `named` if the names come from the file."""

    columns: dict[str, pa.ChunkedArray]
    rows: int
    named: bool

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.columns)

    def find(self, name: str | None, known: Sequence[str], what: str) -> str:
        """Find a column: by name, by position as text, the first of `known`, or the only column.

        Raises:
            Invalid: no such column, or several and none is named.
        """
        names = self.names
        if name is not None:
            if name in self.columns:
                return name
            if name.removeprefix("-").isdecimal() and -len(names) <= int(name) < len(names):
                return names[int(name)]
            raise Invalid(what, f"has no column {name[:80]!r}; there are {listed_names(names)}.")
        found = next((each for each in known if each in self.columns), None)
        if found is not None:
            return found
        if len(names) == 1:
            return names[0]
        raise Invalid(what, f"has the columns {listed_names(names)}; name the one that is meant.")

    def numbers(self, name: str) -> Floats:
        """Return a column as float64, shape (rows,), NaN if a cell is empty or no number."""
        return _numbers(self.columns[name])

    def texts(self, name: str) -> npt.NDArray[np.object_]:
        """Return a column as text, shape (rows,): 1.0 and 1 are the same class, and so are true and 1."""
        column = self.columns[name].combine_chunks()
        if pa.types.is_nested(column.type):
            # Lists and maps of Parquet can't be dictionary-encoded.
            return np.array([class_name(value) for value in column.to_pylist()], dtype=object)
        # Each distinct text is converted once.
        column = column.dictionary_encode()
        known = np.array([*map(class_name, column.dictionary.to_pylist()), ""], dtype=object)
        found: npt.NDArray[np.object_] = known[column.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
        return found

    def is_numeric(self, name: str) -> bool:
        """Return True if every cell that is not empty holds a number."""
        column = self.columns[name]
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
            return True
        values = _numbers(column)
        empty = sum(value is None or value == "" for value in column.to_pylist())
        return bool(len(column) > empty and int(np.isnan(values).sum()) <= empty)


def class_name(value: Any) -> str:
    """Return the canonical name of a class: 1, 1.0, "1" and true are all "1"."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        value = value.strip()
        try:
            number = float(value)
        except ValueError:
            return str(value)
        value = number
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return "" if value is None else str(value)


def read_table(path: Path, *, header: bool | None = None, what: str = "file") -> Table:
    """Read all files under `path` as one table, in the order of their names.

    Args:
        path: a file or a folder.
        header: whether CSV files begin with column names; None detects it by the first row and the first values below it.
        what: the name of the file in errors.

    Raises:
        Invalid: there is no file, the files have different columns, or one can't be read; names the file.
    """
    files = [file for file in files_under(path) if file.stat().st_size]
    if not files:
        raise Invalid(what, f"{path.name} holds no file with anything in it.")
    tables = [_read(file, header, what) for file in files]
    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        if table.column_names != names:
            raise Invalid(
                what, f"{file.name} has the columns {listed_names(table.column_names)}, others {listed_names(names)}."
            )
    whole = pa.concat_tables(tables, promote_options="permissive")
    named = not all(name.isdecimal() for name in names)
    return Table({name: whole.column(name) for name in names}, whole.num_rows, named)


def _read(file: Path, header: bool | None, what: str) -> pa.Table:
    with file.open("rb") as stream:
        peeked = stream.read(_PEEKED_BYTES)
    try:
        if peeked.startswith(PARQUET_MAGIC):
            return pa.parquet.read_table(file)
        compression = "gzip" if peeked.startswith(GZIP_MAGIC) else None
        with pa.input_stream(str(file), compression=compression) as stream:
            text = stream.read(_PEEKED_BYTES)
        if text.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"["):
            return _read_json(file, compression, what)
        return _read_csv(file, compression, text, header)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise Invalid(what, f"{file.name} can't be read: {error}") from None


def _read_csv(file: Path, compression: str | None, peeked: bytes, header: bool | None) -> pa.Table:
    with_names = _has_header(peeked.decode("utf-8-sig", errors="replace")) if header is None else header
    options = pa.csv.ReadOptions(autogenerate_column_names=not with_names)
    convert = pa.csv.ConvertOptions(strings_can_be_null=True, null_values=["", *_MISSING])
    with pa.input_stream(str(file), compression=compression) as stream:
        table = pa.csv.read_csv(
            stream, read_options=options, convert_options=convert,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=True),
        )  # fmt: skip
    if not with_names:
        table = table.rename_columns([str(place) for place in range(table.num_columns)])
    return table


def _has_header(text: str) -> bool:
    """Return True if the first row is a header: it has no number, and a column's first value below it is one."""
    rows = ([cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline="")))
    first, *rest = [row for row in rows if any(row)] or [[]]
    if any(is_number(cell) or cell in _MISSING for cell in first):
        return False
    below = [next((cell for cell in column if cell and cell not in _MISSING), "") for column in zip_longest(*rest)]
    return any(map(is_number, below)) or (bool(first) and not rest)


def is_number(cell: str) -> bool:
    """Return True if a cell of a CSV file holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_json(file: Path, compression: str | None, what: str) -> pa.Table:
    """Read JSON Lines, or one JSON document that is or contains a list of rows."""
    with pa.input_stream(str(file), compression=compression) as stream:
        raw = stream.read()
    columns: dict[str, list[Any]] = {}
    for count, (number, value) in enumerate(_json_rows(raw, file, what)):
        row = _flat(value)
        for name, cell in row.items():
            columns.setdefault(name, [None] * count).append(cell)
        for cells in columns.values():
            if len(cells) == count:
                cells.append(None)
        if not row:
            raise Invalid(what, f"{file.name} row {number} holds no value.")
    return pa.table({name: _column(cells) for name, cells in columns.items()})


def _json_rows(raw: bytes, file: Path, what: str) -> Iterator[tuple[int, Any]]:
    text = raw.decode("utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            value = load_value(line.encode())
        except ValueError:
            if number == 1:
                yield from enumerate(_rows_of(_document(text, file, what)), start=1)
                return
            raise Invalid(what, f"{file.name} line {number} is not JSON.") from None
        # A mini-batch is answered by one document for many rows.
        yield from ((number, row) for row in _rows_of(value, alone=len(lines) == 1))


def _document(text: str, file: Path, what: str) -> Any:
    try:
        return load_value(text.encode())
    except ValueError:
        raise Invalid(what, f"{file.name} is not JSON.") from None


def _rows_of(value: Any, *, alone: bool = True) -> list[Any]:
    if isinstance(value, dict):
        held = next((value[name] for name in _LISTS if isinstance(value.get(name), list)), None)
        return [value] if held is None else held
    if isinstance(value, list) and (alone or any(isinstance(each, (dict, list)) for each in value)):
        return value
    return [value]


def _flat(value: Any) -> dict[str, Any]:
    """Return a row's cells: an object's by name, one level deep; a list's or a plain value's by position."""
    if isinstance(value, dict):
        if isinstance(value.get("SageMakerOutput"), (dict, list, int, float, str)):
            joined = value["SageMakerOutput"]
            rest = {name: cell for name, cell in value.items() if name != "SageMakerOutput"}
            return {**_flat(rest), **(_flat(joined) if isinstance(joined, dict) else {"prediction": joined})}
        found: dict[str, Any] = {}
        for name, cell in value.items():
            if isinstance(cell, list):
                found.update(
                    {f"{name}.{place}": each for place, each in enumerate(cell)} if len(cell) != 1 else {name: cell[0]}
                )
            elif isinstance(cell, dict):
                found.update({f"{name}.{inner}": each for inner, each in cell.items()})
            else:
                found[str(name)] = cell
        return found
    cells = value if isinstance(value, list) else [value]
    return {str(place): cell for place, cell in enumerate(cells)}


def _column(cells: list[Any]) -> pa.Array:
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if cell is None else class_name(cell) for cell in cells])


def _numbers(column: pa.ChunkedArray) -> Floats:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        found: Floats = column.cast(pa.float64()).to_numpy().astype(np.float64)
        return found
    return np.array([_number(value) for value in column.to_pylist()], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def listed_names(names: Sequence[str]) -> str:
    """List the first ten names, each truncated to 40 characters, and the number of the others."""
    shown = ", ".join(name[:40] for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
