"""Metrics documents: the parts that are read, and their size limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec

from promotion.domain.curves import LARGEST_COUNT, read_confusion, read_roc
from promotion.domain.model import Evidence, Metric
from promotion.errors import Invalid
from promotion.formatting import listed, one_line

# Limits for a metrics document: a ledger item is limited to 400 KB, and a version's has the evidence of all its environments.
MOST_METRICS = 200
# Bytes of each part's JSON: a character may take four of them, and a control character six.
ROOM = {"metrics": 24_000, "counts": 2_000, "latency_ms": 2_000, "throughput": 2_000, "engine": 4_000, "drift": 8_000}
# The nesting depth of groups of metrics; SageMaker's format has one level.
DEEPEST = 4
LONGEST_NAME = 120
LONGEST_TEXT = 200
LONGEST_PROBLEM = 400
MOST_UNREAD = 3


Value = TypeVar("Value")

# Metrics that this service measures as a share, from 0 to 1; other tools use percent.
_SHARES = frozenset({"exact_match", "accuracy", "macro_f1", "f1", "precision", "recall", "auc", "map", "mrr"})


def looks_like_percent(name: str, value: float | None) -> bool:
    """Return True if a metric that is a share by its name has a value above 1."""
    plain = name.lower().removeprefix("eval_")
    return value is not None and value > 1 and (plain in _SHARES or plain.startswith(("rouge", "ndcg")))


def name_in(metrics: Mapping[str, Metric], name: str) -> str:
    """Return the key of a metric in `metrics`: its name, or its name with the prefix `eval_` of Hugging Face's Trainer."""
    return f"eval_{name}" if name not in metrics and f"eval_{name}" in metrics else name


def unread(document: Mapping[str, object]) -> str:
    """Name a value that looks like a metric but is not a number, such as `"71 %"`; empty if all metrics could be read."""
    found: dict[str, str] = {}
    for name, value in _entries(document):
        text = value.get("value") if isinstance(value, Mapping) else value
        # A text without a digit (a model's name, NaN) is not meant as a metric.
        if isinstance(text, str) and any(c.isdigit() for c in text[:1]) and _finite(text) is None:
            found[one_line(_name(name), 60)] = text
    said = [
        f"{name} is {one_line(repr(text), 40)}, which is no number" for name, text in list(found.items())[:MOST_UNREAD]
    ]
    return listed(said)


def _entries(document: Mapping[str, object], depth: int = 0) -> Iterator[tuple[str, object]]:
    """Names and values of a document, or of its `metrics`; those of SageMaker's groups (`*_metrics`) stand among them."""
    part = document.get("metrics")
    for name, value in (part if isinstance(part, Mapping) else document).items():
        if str(name).endswith("_metrics") and isinstance(value, Mapping):
            if depth < DEEPEST:
                yield from _entries(value, depth + 1)
        else:
            yield str(name), value


def read_metrics(document: object) -> dict[str, Metric]:
    """Read metrics: the service's own form, SageMaker's model quality form, or a flat name-to-number map.

    SageMaker: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html

    Raises:
        Invalid: the document has none of these formats.
    """
    found: dict[str, Metric] = {}
    for name, value in _entries(_mapping(document)):
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            found[_name(name)] = Metric(value=_finite(value))
        elif isinstance(value, str) and (written := _finite(value)) is not None:
            found[_name(name)] = Metric(value=written)
        elif isinstance(value, Mapping) and isinstance(value.get("value"), int | float | str):
            found[_name(name)] = _metric(value)
    return found


def _fitting(part: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the first entries of a part that fit into its limits."""
    room, kept = ROOM[part], dict[str, Value]()
    for name, value in islice(values.items(), MOST_METRICS):
        room -= len(msgspec.json.encode({name: value}))
        if room < 0:
            break
        kept[name] = value
    return kept


def evidence_of(document: object, **known: Any) -> Evidence:
    """Read evidence from a metrics document.

    Parts and values of a wrong type are left out, and each part is cut to its own limits. The evidence's `problem` names
    the parts that were cut, and a measure of drift that is not a number.

    Raises:
        Invalid: the document is not a JSON object.
    """
    parts: dict[str, Mapping[str, Any]] = {"metrics": read_metrics(document)}
    document = _mapping(document)

    def numbers(field: str) -> dict[str, float]:
        part = document.get(field)
        read = {_name(key): number_of(value) for key, value in part.items()} if isinstance(part, Mapping) else {}
        return {key: value for key, value in read.items() if value is not None}

    drift, engine = document.get("drift"), document.get("engine")
    parts["counts"] = {key: int(value) for key, value in numbers("counts").items() if abs(value) <= LARGEST_COUNT}
    parts |= {name: numbers(name) for name in ("latency_ms", "throughput", "drift")}
    parts["engine"] = _scalars(engine) if isinstance(engine, Mapping) else {}
    kept = {name: _fitting(name, part) for name, part in parts.items()}
    cut = [name for name, part in parts.items() if len(kept[name]) < len(part)]
    # If a drift measure is not a number or doesn't fit, the others must not be taken for a result without drift.
    measures = drift if isinstance(drift, Mapping) else {}
    if len(kept["drift"]) < len(measures):
        kept["drift"] = {}
    no_number = [one_line(str(key), 60) for key, value in measures.items() if number_of(value) is None][:1]
    said = (
        known.get("problem") or unread(document) or _drift_problem(document),
        f"drift is not kept, because {no_number[0]} is not a number" if no_number else "",
        f"the document has more than is kept of {listed(cut)}" if cut else "",
    )
    known |= {"problem": "; ".join(filter(None, said)), **kept}
    return Evidence(
        task=str(document.get("task", ""))[:LONGEST_NAME],
        confusion=read_confusion(document),
        roc=read_roc(document),
        **known,
    )


def _drift_problem(document: Mapping[str, object]) -> str:
    """Return the reason why a run's drift was not measured, or not for all columns."""
    said = document.get("drift_problem")
    return one_line(said, LONGEST_PROBLEM).rstrip(".") if isinstance(said, str) else ""


def _mapping(document: object) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise Invalid("ModelMetrics", "a metrics document is a JSON object.")
    return document


def _metric(value: Mapping[str, object]) -> Metric:
    n = number_of(value.get("n"))
    # No interval from `standard_deviation`: common evaluation scripts put the spread of the residuals there.
    return Metric(
        value=_finite(value.get("value")),
        low=_finite(value.get("low")),
        high=_finite(value.get("high")),
        n=int(n) if n is not None and 0 <= n <= LARGEST_COUNT else None,
    )


def _scalars(part: Mapping[str, object]) -> dict[str, object]:
    """Return plain values by name, with long text truncated."""
    found = {_name(key): value for key, value in part.items() if isinstance(value, str | int | float)}
    return {
        key: value[:LONGEST_TEXT] if isinstance(value, str) else value
        for key, value in found.items()
        if isinstance(value, str | bool) or _finite(value) is not None
    }


def _name(key: object) -> str:
    return str(key)[:LONGEST_NAME]


def number_of(value: object) -> float | None:
    """Return the value if it is a finite number, and not a text or a boolean; else None."""
    return _finite(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
