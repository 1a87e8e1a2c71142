"""Metrics JSON and charts of a run of a regression, binary, multiclass or ranking model.

Answers and references are joined by a column that both have, else line by line, because Batch Transform keeps the
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from inference.records.json_lines import load_value
from inference.scoring import plots, table_plots
from inference.scoring.joining import REFERENCE_FIELDS, files_under
from inference.scoring.rankings import CUTOFFS, ranking
from inference.scoring.table_inputs import check_inputs
from inference.scoring.table_metrics import (
    MULTICLASS,
    RANKING,
    REGRESSION,
    TASKS,
    Judged,
    binary,
    multiclass,
    regression,
    task_of,
)
from inference.scoring.table_slices import slices
from inference.scoring.tables import Table, is_number, read_table
from promotion.errors import Invalid

PREDICTIONS = (
    "prediction",
    "predictions",
    "predicted",
    "score",
    "probability",
    "predicted_label",
    "output",
    "SageMakerOutput",
)
REFERENCES = (*REFERENCE_FIELDS, "y", "actual", "ground_truth", "class", "relevance")
IDS = ("id", "record_id", "row_id")
QUERIES = ("query_id", "qid", "query")
# The number of lines that distinguish a table from a text model's answers.
LINES_PEEKED = 20
POSITIVE = ("1", "true", "yes", "positive")
# Objects that text models answer with; anything else is a table.
TEXT_ANSWERS = frozenset({"generated_texts", "labels", "generated_text", "error"})


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options for reading and scoring tables; None is derived from the files.

    Attributes:
        task: one of TASKS.
        prediction, reference, record_id: columns, by name or by position from 0.
        query: the column with a ranking's query, in the references or in the answers.
        positive: the positive class of a binary model.
        threshold: the least score that counts as positive; for rankings, the least reference that counts as relevant.
        cutoffs: the k of a ranking's NDCG@k.
        header: whether CSV files begin with column names.
    """

    task: str | None = None
    prediction: str | None = None
    reference: str | None = None
    record_id: str | None = None
    query: str | None = None
    positive: str | None = None
    threshold: float = 0.5
    cutoffs: tuple[int, ...] = CUTOFFS
    header: bool | None = None


def is_tabular(outputs: Path, task: str | None) -> bool:
    """Return True if outputs are a table, by the task, else by the first lines (numbers, known columns, no text answer)."""
    if task is not None:
        return task in TASKS
    for file in files_under(outputs):
        with file.open("rb") as stream:
            peeked = [line for line in islice(stream, LINES_PEEKED) if line.strip()]
        if peeked:
            lines = [line.strip().decode("utf-8-sig", errors="replace") for line in peeked]
            # A text model's file may begin with an invalid line.
            return _is_row(lines[0]) and not any(_is_text_answer(line) for line in lines)
    return False


def _is_text_answer(line: str) -> bool:
    try:
        value = load_value(line.encode())
    except ValueError:
        return False
    values = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]
    # If the job joined input and output, the answer is under its own key.
    values += [each["SageMakerOutput"] for each in values if isinstance(each.get("SageMakerOutput"), dict)]
    return any(TEXT_ANSWERS & each.keys() for each in values)


def _is_row(line: str) -> bool:
    try:
        value = load_value(line.encode())
    except ValueError:
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        return any(is_number(cell) or cell in PREDICTIONS for cell in cells)
    if isinstance(value, dict):
        return not TEXT_ANSWERS & value.keys() and any(name in value for name in PREDICTIONS)
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, (int, float, list)) for each in values)


def score_table(
    outputs: Path,
    references: Path | None,
    output: Path,
    options: TableOptions,
    *,
    inputs: Path | None = None,
    gates: Sequence[Mapping[str, Any]] = (),
    live: Mapping[str, float] | None = None,
    baseline: Mapping[str, Any] | None = None,
    title: str = "Metrics",
) -> dict[str, Any]:
    """Return the metrics of the answers, and write their pictures to `output`.

    Returns:
        The parts of metrics.json from the tables: task, metrics, counts, slices, drift, samples, pictures.

    Raises:
        Invalid: a file can't be read or joined, a column is missing, or the columns don't fit the task.
    """
    answers = read_table(outputs, header=options.header, what="outputs")
    document: dict[str, Any] = {
        "task": options.task or "", "metrics": {}, "counts": {"records": answers.rows, "errors": 0}, "slices": {},
        "drift": {}, "samples": [],
    }  # fmt: skip
    # A profile of texts doesn't apply to a table.
    if inputs is not None and baseline and "vocabulary" not in baseline:
        document |= check_inputs(inputs, baseline, header=options.header)
        if (violated := document.get("violations")) is not None:
            document["counts"]["constraint_violations"] = len(violated)
    output.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    if references is not None:
        truth = read_table(references, header=options.header, what="references")
        places, found = _joined(answers, truth, options)
        judged, kept = _judged(answers, truth, places, found, options)
        document["task"] = judged.task
        document["metrics"] = {name: estimate.as_json() for name, estimate in judged.estimates.items()}
        document["counts"] |= {
            "errors": int(len(places) - kept.sum()),
            "missing_references": answers.rows - len(places),
            "surplus_references": truth.rows - len(set(found.tolist())),
        }
        if judged.query_of_row is not None:
            queries, measured = int(judged.query_of_row.max()) + 1, _largest_n(judged)
            document["counts"] |= {"queries": queries, "queries_without_relevant": queries - measured}
        keys = (truth.find(options.reference, REFERENCES, "references"), options.record_id, options.query, *IDS)
        document["slices"] = slices(judged, truth, found[kept], {*keys, *(QUERIES if judged.task == RANKING else ())})
        if judged.confusion is not None:
            document["confusion"] = judged.confusion.as_json()
        drawn = _draw(output, title, judged, options, gates, live or {})
    document |= {"pictures": list(drawn), "alternatives": drawn}
    return document


def _joined(answers: Table, truth: Table, options: TableOptions) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return rows of the answers, and the matching row of the references for each."""
    shared = options.record_id or next(
        (name for name in IDS if name in answers.columns and name in truth.columns), None
    )
    if shared is None:
        if answers.rows != truth.rows:
            raise Invalid(
                "references",
                f"have {truth.rows:,} rows and the outputs {answers.rows:,}: without a column of ids in both they are joined "
                "line by line.",
            )
        rows = np.arange(answers.rows)
        return rows, rows
    ours, theirs = answers.find(shared, IDS, "outputs"), truth.find(shared, IDS, "references")
    # If the references have an id twice, the first row counts.
    keys, known = (table.columns[name].combine_chunks() for table, name in ((answers, ours), (truth, theirs)))
    found = pa.compute.index_in(keys, value_set=known) if keys.type == known.type else None
    if found is None or found.null_count:
        # Ids as text, so that 1.0 equals 1. Only if needed, because a million Python strings take 60 MB.
        known = pa.array(truth.texts(theirs), pa.string())
        found = pa.compute.index_in(pa.array(answers.texts(ours), pa.string()), value_set=known)
    rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    if not len(rows):
        raise Invalid("references", f"share no value of the column {shared} with the outputs.")
    return rows, found.drop_null().to_numpy()


def _judged(
    answers: Table, truth: Table, places: np.ndarray[Any, Any], found: np.ndarray[Any, Any], options: TableOptions
) -> tuple[Judged, np.ndarray[Any, Any]]:
    """Return metrics of the joined rows, and which rows had both an answer and a reference."""
    if options.task == RANKING:
        return _ranking(answers, truth, places, found, options)
    reference = truth.find(options.reference, REFERENCES, "references")
    if options.task == REGRESSION:
        return _regression(answers, truth, places, found, options)
    expected = truth.texts(reference)[found]
    task = options.task or task_of(expected[expected != ""], truth.is_numeric(reference))
    if task == REGRESSION:
        return _regression(answers, truth, places, found, options)
    classes = _class_columns(answers, options) if task == MULTICLASS else []
    if classes:
        scores = np.stack([answers.numbers(name) for name in classes], axis=1)[places]  # (n, classes)
        given = np.array([class_of(classes, row) for row in scores], dtype=object)
        kept = (expected != "") & np.isfinite(scores).all(axis=1)
        return multiclass(list(expected[kept]), list(given[kept])), kept
    column = answers.find(options.prediction, PREDICTIONS, "outputs")
    if task == MULTICLASS:
        given = answers.texts(column)[places]
        kept = (expected != "") & (given != "")
        return multiclass(list(expected[kept]), list(given[kept])), kept
    answer = answers.numbers(column)[places]
    positive = options.positive or _positive({value for value in expected if value})
    kept = (expected != "") & np.isfinite(answer)
    return binary(expected[kept] == positive, answer[kept], threshold=options.threshold), kept


def _regression(
    answers: Table, truth: Table, places: np.ndarray[Any, Any], found: np.ndarray[Any, Any], options: TableOptions
) -> tuple[Judged, np.ndarray[Any, Any]]:
    answer = answers.numbers(answers.find(options.prediction, PREDICTIONS, "outputs"))[places]
    numbers = truth.numbers(truth.find(options.reference, REFERENCES, "references"))[found]
    kept = np.isfinite(numbers) & np.isfinite(answer)
    return regression(numbers[kept], answer[kept]), kept


def _ranking(
    answers: Table, truth: Table, places: np.ndarray[Any, Any], found: np.ndarray[Any, Any], options: TableOptions
) -> tuple[Judged, np.ndarray[Any, Any]]:
    answer = answers.numbers(answers.find(options.prediction, PREDICTIONS, "outputs"))[places]
    gain = truth.numbers(truth.find(options.reference, REFERENCES, "references"))[found]
    query = _queries(answers, truth, places, found, options)
    kept = np.isfinite(gain) & np.isfinite(answer) & (query != "")
    judged = ranking(
        _numbered(query[kept]), gain[kept], answer[kept], cutoffs=options.cutoffs, relevant_from=options.threshold
    )
    return judged, kept


def _queries(
    answers: Table, truth: Table, places: np.ndarray[Any, Any], found: np.ndarray[Any, Any], options: TableOptions
) -> np.ndarray[Any, Any]:
    """Return the query of each joined row, as text."""
    names = QUERIES if options.query is None else (options.query,)
    known = [(table, rows, name) for table, rows in ((truth, found), (answers, places)) for name in names]
    table, rows, name = next((each for each in known if each[2] in each[0].columns), (truth, found, options.query))
    if name is None:
        raise Invalid("query_field", f"name the column that tells one query from another; there is no {QUERIES[0]}.")
    queries: np.ndarray[Any, Any] = table.texts(table.find(name, (), "references"))[rows]
    return queries


def _numbered(texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Number texts by first occurrence; equal texts get the same number."""
    numbers: np.ndarray[Any, Any] = pa.array(texts, pa.string()).dictionary_encode().indices.to_numpy()
    return numbers


def _class_columns(answers: Table, options: TableOptions) -> list[str]:
    """Return the columns of class scores: those below a name (`probabilities.0`), or all if only numbers."""
    if options.prediction is not None and options.prediction in answers.columns:
        return []
    prefix = options.prediction or next(
        (name for name in ("probabilities", "scores", "predictions") if f"{name}.0" in answers.columns), None
    )
    if prefix is not None:
        return [name for name in answers.names if name.startswith(f"{prefix}.")]
    if answers.named or len(answers.names) < 3:
        return []
    return [name for name in answers.names if answers.is_numeric(name)]


def class_of(columns: Sequence[str], scores: Any) -> str:
    """Return the class with the largest score: the last part of its column's name."""
    return columns[int(np.argmax(scores))].rpartition(".")[2]


def _positive(values: set[str]) -> str:
    known = next((value for value in values if value.casefold() in POSITIVE), None)
    if known is None:
        raise Invalid("positive", f"name the class that counts as positive; there are {', '.join(sorted(values)[:5])}.")
    return known


def _largest_n(judged: Judged) -> int:
    return max((estimate.n for estimate in judged.estimates.values()), default=0)


def _draw(
    output: Path,
    title: str,
    judged: Judged,
    options: TableOptions,
    gates: Sequence[Mapping[str, Any]],
    live: Mapping[str, float],
) -> dict[str, str]:
    """Draw the pictures; return their text alternatives by name."""
    bounds = plots.bounds_of(gates)
    n, what = _largest_n(judged), "queries" if judged.task == RANKING else "records"
    drawn: dict[str, str] = {}
    # Errors in the unit of the predicted value have no common scale, and are not drawn.
    shares = {name: estimate for name, estimate in judged.estimates.items() if judged.task != REGRESSION}
    shares.pop("log_loss", None)
    if shares:
        path = output / "metrics.png"
        drawn["metrics.png"] = plots.draw_metrics(path, f"{title}, {n:,} {what}", shares, bounds, live)
    if "auc" in judged.estimates:
        drawn["roc.png"] = table_plots.draw_roc(output / "roc.png", judged.truth, judged.answer, options.threshold)
    if "calibration_error" in judged.estimates:
        drawn["calibration.png"] = table_plots.draw_calibration(output / "calibration.png", judged.truth, judged.answer)
    if judged.task == RANKING:
        drawn["queries.png"] = table_plots.draw_queries(output / "queries.png", *next(iter(judged.by_row.items())))
    if judged.task == REGRESSION:
        drawn["residuals.png"] = table_plots.draw_residuals(output / "residuals.png", judged.truth, judged.answer)
    if judged.confusion is not None:
        drawn["confusion.png"] = plots.draw_confusion(output / "confusion.png", judged.confusion)
    return drawn
