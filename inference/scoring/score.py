"""The metrics document and pictures of a run, from its answers and the references."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.records.counts import Run, Totals
from inference.scoring import drift as drifting
from inference.scoring import metrics as measures
from inference.scoring import plots
from inference.scoring.documents import beside, gates_of, plain_metrics, read_baseline, read_document
from inference.scoring.joining import (
    MOST_SLICES,
    Prediction,
    References,
    input_texts,
    key_of,
    predictions,
    read_input_fields,
    read_references,
)
from inference.scoring.rankings import CUTOFFS
from inference.scoring.table_score import TableOptions, is_tabular, score_table
from promotion.errors import Invalid
from promotion.names import BASELINE_PROBLEM

SCHEMA = 1
TEXT, LABELS = "text2text-generation", "zero-shot-classification"
LONGEST_SAMPLE = 400
# The fields of an approval that identify the run's metrics.
STAMPED = ("approval_id", "model_package_group", "model_package_version", "model_package_arn", "environment")

log = logging.getLogger("inference")


@dataclass(slots=True)
class _Scored:
    """Numbers of each output; texts are not kept in memory."""

    rows: list[dict[str, float]] = field(default_factory=list)
    keys: list[tuple[str, int]] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    corpus: tuple[list[str], list[Sequence[str]]] = field(default_factory=lambda: ([], []))
    records: int = 0
    errors: int = 0
    duplicates: int = 0
    missing: int = 0
    surplus: int = 0


def score(
    outputs: Path,
    references: Path | None,
    output: Path,
    *,
    inputs: Path | None = None,
    task: str | None = None,
    reference_field: str | None = None,
    approval: Mapping[str, Any] | None = None,
    gates: Sequence[Mapping[str, Any]] = (),
    live: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
    table: TableOptions | None = None,
) -> dict[str, Any]:
    """Write metrics.json and its pictures to `output`, and return the metrics.

    Without references only counts, speed and drift are measured. Numbers and classes are scored as a
    table (inference/scoring/table_score.py).

    Raises:
        Invalid: an output or a reference can't be joined; names file and line.
    """
    started = time.perf_counter()
    if is_tabular(outputs, task):
        options = replace(table or TableOptions(), task=task)
        if reference_field is not None:
            options = replace(options, reference=reference_field)
        judged = {
            "schema": SCHEMA,
            **score_table(
                outputs, references, output, options, inputs=inputs, gates=gates, live=plain_metrics(live), baseline=baseline,
                title=_title(approval or {}),
            ),
            "latency_ms": {}, "throughput": {}, "engine": {},
        }  # fmt: skip
        return _written(judged, output, approval, started)
    wanted = read_references(references, reference_field) if references else References()
    runs: list[Run] = []
    translates = (task or "").startswith("translation") or any(gate.get("metric") in measures.CORPUS for gate in gates)
    scored = _judge(outputs, wanted, runs, translates, joins=references is not None)
    totals = Totals.of(runs)
    classified = bool(scored.pairs)
    # A task such as translation_en_to_ja ends with the target language.
    language = (task or "").rpartition("_")[2] if "_to_" in (task or "") else ""
    estimates, confusion, signatures = _estimates(scored, language)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "task": task or (LABELS if classified else TEXT),
        "metrics": {name: estimate.as_json() for name, estimate in estimates.items()},
        "counts": _counts(scored, wanted, totals),
        "latency_ms": {f"p{percent}": totals.counts.latencies.percentile_ms(percent) for percent in (50, 95, 99)},
        "throughput": _throughput(totals),
        "engine": {"workers": len({run.worker for run in runs}), **totals.counts.engine},
        "slices": _slices(scored, wanted, inputs),
        **_drift(baseline, inputs),
        "samples": _samples(outputs, inputs, scored, wanted),
    }
    if not classified and not measures.rouge_applies([str(value) for value in wanted.values.values()]):
        reason = "most letters of the references are of a script whose word breaks ROUGE does not know"
        document["not_applicable"] = {name: reason for name in measures.ROUGE if document["metrics"].pop(name, None)}
        estimates = {name: estimate for name, estimate in estimates.items() if name not in measures.ROUGE}
    if confusion:
        document["confusion"] = confusion.as_json()
    if signatures:
        document["signatures"] = signatures
    output.mkdir(parents=True, exist_ok=True)
    alternatives = _draw(output, _title(approval or {}), estimates, confusion, totals, gates, live)
    document |= {"pictures": list(alternatives), "alternatives": alternatives}
    return _written(document, output, approval, started)


def _written(
    document: dict[str, Any], output: Path, approval: Mapping[str, Any] | None, started: float
) -> dict[str, Any]:
    """Write metrics.json with the fields that identify its run."""
    document |= {name: approval[name] for name in STAMPED if approval and approval.get(name) is not None}
    document["scoring_seconds"] = round(time.perf_counter() - started, 3)
    path = output / "metrics.json"
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    # A lone surrogate, which UTF-8 can't encode, must not lose a score.
    path.write_bytes(f"{text}\n".encode(errors="replace"))
    counts = document["counts"]
    log.info("scored %d records, %d errors, into %s", counts["records"], counts["errors"], path)
    return document


def command(options: argparse.Namespace) -> int:
    """`python -m inference score`."""
    document = score(
        options.outputs,
        options.references,
        options.output,
        inputs=options.inputs,
        task=options.task,
        reference_field=options.reference_field,
        approval=read_document(options.approval),
        gates=gates_of(read_document(options.gates)),
        live=read_document(options.live),
        baseline=read_baseline(options.baseline or beside(options.approval, "baseline.json")),
        table=TableOptions(
            prediction=options.prediction_field,
            record_id=options.id_field,
            query=options.query_field,
            positive=options.positive,
            threshold=options.threshold,
            cutoffs=options.cutoffs or CUTOFFS,
            header=None if options.header is None else options.header == "yes",
        ),
    )
    for name, value in document["metrics"].items():
        print(f"{name:12} {value['value']:.4f}  ({value['low']:.4f} to {value['high']:.4f}, n {value['n']})")
    return 0


def _judge(outputs: Path, wanted: References, runs: list[Run], translates: bool, *, joins: bool) -> _Scored:
    scored, scorer = _Scored(), measures.text_scorer()
    seen: set[tuple[str, int]] = set()
    for line in predictions(outputs, runs, need_id=joins):
        scored.records += 1
        scored.errors += any(part.error for part in line)
        for part in line if joins else ():
            key = (part.id, part.part)
            # A line without an id or without JSON is an error, and not a duplicate.
            if key in seen and not (part.error and part.id == key_of(None)):
                scored.duplicates += 1
                continue
            seen.add(key)
            references = wanted.of(part)
            if references is None:
                scored.missing += not part.error
            elif scored.rows and not part.error and (part.label is not None) != bool(scored.pairs):
                # The first answer shows whether the model generates texts or classifies.
                scored.errors += 1
            elif part.label is not None:
                # With several right classes, the answered one is the reference; a wrong answer is compared with the
                # first.
                right = part.label if part.label in references else references[0]
                scored.pairs.append((right, part.label))
                scored.rows.append({"accuracy": float(part.label == right)})
                scored.keys.append(key)
            elif not part.error:
                _judge_text(scored, scorer, part, references, translates)
    answered = {key for key, _ in seen}
    scored.surplus = len(wanted.values.keys() - answered)
    return scored


def _judge_text(
    scored: _Scored, scorer: measures.Scorer, part: Prediction, references: Sequence[str], translates: bool
) -> None:
    scored.rows.append(measures.text_scores(scorer, part.text, references))
    scored.keys.append((part.id, part.part))
    if translates:
        scored.corpus[0].append(part.text)
        scored.corpus[1].append(references)


def _estimates(
    scored: _Scored, language: str
) -> tuple[dict[str, measures.Estimate], measures.Confusion | None, dict[str, str]]:
    if scored.pairs:
        confusion = measures.Confusion.of(scored.pairs)
        return confusion.estimates(), confusion, {}
    if not scored.rows:
        return {}, None, {}
    names = list(scored.rows[0])
    table = np.array([[row[name] for name in names] for row in scored.rows])  # (records, metrics)
    estimates = dict(zip(names, measures.mean_estimates(table), strict=True))
    if not scored.corpus[0]:
        return estimates, None, {}
    found = measures.corpus_estimates(measures.CORPUS, *scored.corpus, language=language)
    signatures = {name: signature for name, (_, signature) in found.items()}
    return estimates | {name: estimate for name, (estimate, _) in found.items()}, None, signatures


def _counts(scored: _Scored, wanted: References, totals: Totals) -> dict[str, int]:
    told = totals.counts
    return {
        "records": scored.records,
        "errors": scored.errors,
        "truncated": told.truncated,
        "duplicates": scored.duplicates + wanted.duplicates,
        "missing_references": scored.missing,
        "surplus_references": scored.surplus,
        "ignored_parameters": told.ignored_parameters,
        "repeated_inputs": told.repeated_inputs,
        "tokens_in": told.tokens_in,
        "tokens_out": told.tokens_out,
    }


def _throughput(totals: Totals) -> dict[str, float]:
    if not totals.wall_seconds:
        return {}
    counts = totals.counts
    tokens = counts.tokens_out or counts.tokens_in
    return {
        "records_per_s": round(counts.records / totals.wall_seconds, 3),
        "tokens_per_s": round(tokens / totals.wall_seconds, 3),
    }


def _drift(baseline: Mapping[str, Any] | None, inputs: Path | None) -> dict[str, Any]:
    """Return `drift`, or the reason as `drift_problem` if the baseline can't be used; other metrics are unaffected."""
    if baseline and baseline.get(BASELINE_PROBLEM):
        return {"drift": {}, "drift_problem": f"Drift was not measured: baseline: {baseline[BASELINE_PROBLEM]}"}
    if not baseline or inputs is None or "vocabulary" not in baseline:
        return {"drift": {}}
    try:
        return {"drift": drifting.drift(baseline, (text for _, text in input_texts(inputs)))}
    except Invalid as error:
        return {"drift": {}, "drift_problem": f"Drift was not measured: {error}"}


def _slices(scored: _Scored, wanted: References, inputs: Path | None) -> dict[str, Any]:
    """Return each metric by each text field with few distinct values among the scored records."""
    keys = {key for key, _ in scored.keys}
    fields = {**(read_input_fields(inputs, dict.fromkeys(keys)) if inputs else {}), **wanted.fields}
    slices: dict[str, Any] = {}
    for name, values in sorted(fields.items()):
        found = sorted({values[key] for key in keys if key in values})
        if not 2 <= len(found) <= MOST_SLICES:
            continue
        slices[name] = {}
        for value in found:
            rows = [row for row, (key, _) in zip(scored.rows, scored.keys, strict=True) if values.get(key) == value]
            slices[name][value] = {
                metric: {"value": round(sum(row[metric] for row in rows) / len(rows), 6), "n": len(rows)}
                for metric in rows[0]
            }
    return slices


def _samples(outputs: Path, inputs: Path | None, scored: _Scored, wanted: References) -> list[dict[str, Any]]:
    """Return five records from worst to best, by reading the files again, because texts are not kept in memory."""
    if not scored.rows:
        return []
    primary = "accuracy" if scored.pairs else "rougeL"
    order = sorted(range(len(scored.rows)), key=lambda place: (scored.rows[place][primary], scored.keys[place]))
    chosen = [order[round(share * (len(order) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]
    places = {scored.keys[place]: place for place in chosen}
    ids = {key for key, _ in places}
    texts: dict[str, list[str]] = {}
    for key, text in input_texts(inputs) if inputs else ():
        if key in ids:
            texts.setdefault(key, []).append(text)
    samples: dict[int, dict[str, Any]] = {}
    for line in predictions(outputs, []):
        for part in line:
            place = places.get((part.id, part.part))
            if place is None or place in samples:
                continue
            given = texts.get(part.id, [])
            samples[place] = {
                "id": part.id,
                "input": _short(given[part.part] if part.part < len(given) else ""),
                "output": _short(part.label if part.label is not None else part.text),
                "reference": _short((wanted.of(part) or ("",))[0]),
                "score": round(scored.rows[place][primary], 6),
            }
    return [samples[place] for place in dict.fromkeys(chosen) if place in samples]


def _draw(
    output: Path,
    about: str,
    estimates: Mapping[str, measures.Estimate],
    confusion: measures.Confusion | None,
    totals: Totals,
    gates: Sequence[Mapping[str, Any]],
    live: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Draw the pictures; return each with its text alternative."""
    bounds = plots.bounds_of(gates)
    n = max((estimate.n for estimate in estimates.values()), default=0)
    title = f"{about}, {n:,} records"
    drawn = {"metrics.png": plots.draw_metrics(output / "metrics.png", title, estimates, bounds, plain_metrics(live))}
    if totals.counts.latencies.bins:
        drawn["latency.png"] = plots.draw_latency(output / "latency.png", totals.counts.latencies)
    if confusion:
        drawn["confusion.png"] = plots.draw_confusion(output / "confusion.png", confusion)
    return drawn


def _title(approval: Mapping[str, Any]) -> str:
    """Return group, version and environment of the metrics, if the approval names them."""
    parts = [str(approval.get("model_package_group") or "Metrics")]
    if approval.get("model_package_version") is not None:
        parts.append(f"v{approval['model_package_version']}")
    if approval.get("environment"):
        parts.append(f"in {approval['environment']}")
    return " ".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SAMPLE else text[: LONGEST_SAMPLE - 1] + "…"
