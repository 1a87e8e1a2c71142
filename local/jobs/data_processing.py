"""DataProcessing of a batch transform job: which parts of records are sent, and which parts of answers are kept."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from inference.batch import data_processing
from local.jobs.container import JobFailed

_CSV = "text/csv"


class Processing:
    """The input filter, the output filter, and the join of answers with records."""

    def __init__(self, wanted: Mapping[str, str], content_type: str | None = None) -> None:
        self._csv = (content_type or "").partition(";")[0].strip() == _CSV
        self._input = data_processing.Path.parse("InputFilter", wanted.get("InputFilter") or "$")
        self._output = data_processing.Path.parse("OutputFilter", wanted.get("OutputFilter") or "$")
        self._joined = wanted.get("JoinSource") == "Input"

    def asked(self, body: bytes) -> bytes:
        """Return the part of a request's records that is sent."""
        if self._input.whole:
            return body
        records = map(_cells if self._csv else json.loads, _split(body))
        return (_rows_of if self._csv else _lines_of)(self._of(self._input, record) for record in records)

    def answered(self, body: bytes, answer: bytes) -> bytes:
        """Return the part of the answers to `body` that is kept.

        Raises:
            JobFailed: a record has an error, which ends the job, as in SageMaker.
        """
        if self._output.whole and not self._joined:
            return answer
        records, answers = _split(body), _split(answer)
        if self._joined and len(records) != len(answers):
            raise JobFailed(f"ClientError: {len(answers)} answers to {len(records)} records can't be joined.")
        values = (json.loads(line) for line in answers)
        if self._joined:
            values = (
                data_processing.join(json.loads(line), value) for line, value in zip(records, values, strict=True)
            )
        return _lines_of(self._of(self._output, value) for value in values)

    @staticmethod
    def _of(path: data_processing.Path, value: Any) -> Any:
        try:
            return path.of(value)
        except data_processing.NothingFound as nothing:
            raise JobFailed(f"ClientError: {nothing}") from None


def _lines_of(values: Iterator[Any]) -> bytes:
    try:
        return b"".join(json.dumps(value).encode() + b"\n" for value in values)
    except ValueError as broken:
        raise JobFailed(f"ClientError: Unable to parse data as JSON: {broken}") from None


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode()]), [])


def _rows_of(rows: Iterable[Any]) -> bytes:
    """Return records as CSV; the output of a filter is a row, or a cell of one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row if isinstance(row, list) else [row] for row in rows)
    return text.getvalue().encode()


def _split(body: bytes) -> list[bytes]:
    return body.removesuffix(b"\n").split(b"\n")
