"""View data of evidence: comparison of the candidate with the live version by metric, with gates and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from promotion.domain.curves import LARGEST_COUNT
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.gate_sentences import gate_bound, gate_name, gate_why
from promotion.domain.metrics import name_in, number_of
from promotion.domain.model import Evidence, Metric, Request
from promotion.formatting import ELLIPSIS, change, counted, iso, listed, number, one_line, readable
from promotion.rendering.documents.costs import dollars
from promotion.rendering.documents.rows import GateDocument, MetricDocument, MetricRow, Scale, SliceRow

# With fewer samples, a mean is uncertain, and the normal approximation for its interval is invalid.
FEW_SAMPLES = 30
# Population stability index: the usual threshold between a shift and a different population.
PSI_SHIFTED = 0.2
SAMPLES_SHOWN = 5
# A response of Lambda has at most 6 MB.
SLICES_SHOWN = 1000
LONGEST_SAMPLE = 1200
LONGEST_NAME = 60
LONGEST_BOUND = 200
LONGEST_ENGINE_VALUE = 80
LONGEST_REPORTER = 200

_ABOUT_A_METRIC = frozenset({GateKind.MIN, GateKind.MAX, GateKind.SAMPLES, GateKind.REGRESSION})
_LOWER_IS_BETTER = ("loss", "perplexity", "wer", "cer", "mae", "mape", "mse", "rmse", "error", "brier")
_UP_TO_100 = ("bleu", "chrf", "ter")
_COUNTS = {
    "errors": "{of} failed and have an error instead of a prediction.",
    "truncated": "{of} were truncated (longer than the model’s maximum).",
    "duplicates": "{of} are duplicates of another.",
    "missing_references": "{of} have no reference, so the metrics leave them out.",
    "surplus_references": "{n} in the reference file match no record.",
    "ignored_parameters": "{n} asked for parameters that were ignored.",
}


def gate_documents(gates: Iterable[GateResult]) -> list[GateDocument]:
    """Return gates as plain data, failed ones first."""
    return [
        {
            "name": one_line(gate_name(gate), LONGEST_NAME),
            "kind": gate.kind,
            "metric": one_line(_metric_of(gate), LONGEST_NAME),
            "open": gate.open,
            "limit": finite(gate.limit),
            "value": finite(gate.value),
            "live_value": finite(gate.live_value),
            "bound": one_line(gate_bound(gate), LONGEST_BOUND),
            "margin": finite(gate.margin),
            "why": one_line(gate_why(gate), LONGEST_BOUND + LONGEST_NAME),
        }
        for gate in sorted(gates, key=lambda gate: gate.open)
    ]


def stopped_by(gates: Iterable[GateResult]) -> str:
    """Return the cause in a few words, for a subject: `quality gate failed (rougeL 0.12, needs at least 0.6)`."""
    failed = [gate for gate in gates if not gate.open]
    if not failed:
        return ""
    first = failed[0]
    more = f", and {counted(len(failed) - 1, 'more gate')}" if len(failed) > 1 else ""
    regression = first.kind is GateKind.REGRESSION
    name, bound = one_line(first.metric if regression else gate_name(first), LONGEST_NAME), gate_bound(first)
    match first.kind:
        case GateKind.RUN:
            # After a failed run, all other gates fail too, because their metrics are missing.
            return "the inference run failed"
        case GateKind.ATTACHED:
            said = f"no {name}"
        case GateKind.LICENCE:
            said = f"{name} needs {bound}"
        case _:
            said = f"{name} {number(first.value) if first.value is not None else 'missing'}, needs {bound}"
    return f"quality gate failed ({said}{more})"


def comparison(
    evidence: Evidence,
    live: Evidence | None,
    gates: Sequence[GateResult],
    lower_is_better: frozenset[str] = frozenset(),
) -> list[MetricRow]:
    """Return a row for each metric of either side, those with a gate first: values, intervals, difference, gate result.

    `noise` is True if both confidence intervals overlap: such a difference is no reason to promote.
    """
    judged = {_metric_of(gate): None for gate in gates if _metric_of(gate)}
    before = live.metrics if live else {}
    # A gate on rougeL also reads eval_rougeL, as Hugging Face's Trainer names it, so that both are one row.
    taken = [{name_in(side, name) for name in judged} for side in (evidence.metrics, before)]
    others = [
        name for side, read in zip((evidence.metrics, before), taken, strict=True) for name in side if name not in read
    ]
    order = [*judged, *others]
    rows: list[MetricRow] = []
    for name in dict.fromkeys(order):
        mine = [gate for gate in gates if _metric_of(gate) == name]
        new_name, old_name = (name_in(side, name) if name in judged else name for side in (evidence.metrics, before))
        new, old = evidence.metrics.get(new_name, Metric()), before.get(old_name, Metric())
        lower = name in lower_is_better or name.lower().endswith(_LOWER_IS_BETTER)
        rows.append(
            {
                "metric": one_line(name, LONGEST_NAME),
                "candidate": metric_document(new),
                "live": metric_document(old) if old_name in before else None,
                "difference": _difference(new, old),
                "change": change(new.value, old.value),
                "lower_is_better": lower,
                "better": _better(new, old, lower),
                "noise": _overlap(new, old),
                "open": all(gate.open for gate in mine) if mine else None,
                "gates": gate_documents(mine),
                "scale": _scale(name, [new, old], mine, lower),
            }
        )
    return rows


def metric_document(metric: Metric) -> MetricDocument:
    return {"value": finite(metric.value), "low": finite(metric.low), "high": finite(metric.high), "n": metric.n}


def evidence_document(evidence: Evidence, live: Evidence | None, *, digest: str) -> dict[str, object]:
    """Return evidence as plain data, with the digest from its event.

    `problems` are sentences about warnings and missing data.
    """
    return {
        "source": evidence.source,
        "environment": evidence.environment,
        "run_id": evidence.run_id,
        "reported_by": reported_by(evidence),
        "status": evidence.status,
        "problem": readable(evidence.problem, 1000)[0],
        "task": evidence.task,
        "digest": digest,
        "metrics_uri": evidence.metrics_uri,
        "metrics": {name: metric_document(metric) for name, metric in evidence.metrics.items()},
        "counts": _ordered(evidence.counts, ("records", "errors", "truncated", "duplicates", "missing_references")),
        "latency_ms": _numbers(evidence.latency_ms),
        "latency_live_ms": _numbers(live.latency_ms) if live else {},
        "throughput": _numbers(evidence.throughput),
        "engine": {
            name: one_line(str(value), LONGEST_ENGINE_VALUE)
            for name, value in _ordered(evidence.engine, ("name", "device", "dtype")).items()
        },
        "engine_changes": engine_changes(evidence, live),
        "drift": _numbers(evidence.drift),
        "cost_usd": evidence.cost_usd,
        "cost": dollars(evidence.cost_usd) if evidence.cost_usd is not None else "",
        "cost_basis": evidence.cost_basis,
        "pictures": list(evidence.pictures),
        "licence": evidence.licence,
        "attached": list(evidence.attached),
        "problems": problems(evidence, live),
    }


def reported_by(evidence: Evidence) -> str:
    """Return the reporter of numbers not measured here: a principal's ARN, or an event's account."""
    reporter = one_line(evidence.reporter, LONGEST_REPORTER)
    return f"account {reporter}" if reporter.isdecimal() else reporter


def problems(evidence: Evidence, live: Evidence | None) -> list[str]:
    """List warnings about the numbers, one sentence each."""
    found: list[str] = []
    problem = readable(evidence.problem, 400)[0].rstrip(".")
    stop = "" if problem.endswith(ELLIPSIS) else "."
    if evidence.source == "registration":
        if not evidence.metrics:
            found.append("No metrics were registered with this version: nothing here says how good it is.")
        if problem and problem != "no metrics were registered":
            whole = "Of the registered metrics" if evidence.metrics else "The registered metrics can't be used"
            found.append(f"{whole}: {problem}{stop}")
    elif is_unmeasured(evidence):
        found.append(f"Not measured in {evidence.environment}: {problem}{stop}")
    elif evidence.status != "Completed":
        where = f" in {evidence.environment}" if evidence.environment else ""
        found.append(f"The inference run{where} {_STATUS[evidence.status]}: {problem or 'it gave no reason'}{stop}")
    elif not evidence.metrics:
        found.append("The run measured no metrics: references are missing, or none matched a record.")
    elif problem:
        found.append(f"{problem}{stop}")
    if live is not None and live.task and evidence.task and live.task != evidence.task:
        found.append(f"These are metrics of {evidence.task}; what is live was measured on {live.task}.")
    records = evidence.counts.get("records", 0)
    for name, sentence in _COUNTS.items():
        count = evidence.counts.get(name, 0)
        if count:
            of = f"{count:,} of {counted(records, 'record')}" if records else counted(count, "record")
            found.append(sentence.format(of=of, n=counted(count, "record")))
    if violated := evidence.counts.get("constraint_violations", 0):
        found.append(f"The input violates {counted(violated, 'constraint')} of the model's constraints.json.")
    smallest = min((m.n for m in evidence.metrics.values() if m.n is not None), default=None)
    if smallest is not None and smallest < FEW_SAMPLES:
        found.append(f"Only {counted(smallest, 'sample')} stand behind these metrics: small differences mean nothing.")
    shifted = [f"{_spoken(name)} {number(value)}" for name, value in evidence.drift.items() if value > PSI_SHIFTED]
    if shifted:
        found.append(f"The input has shifted away from what was seen before: {listed(shifted)} (above {PSI_SHIFTED}).")
    if changes := engine_changes(evidence, live):
        said = [f"{c['what']} was {c['live']}, now {c['candidate']}" for c in changes]
        found.append(f"It did not run as what is live did: {listed(said)}.")
    return found


def is_unmeasured(evidence: Evidence) -> bool:
    """Return True if there was no run, and approval was requested without one."""
    return evidence.source == "inference" and evidence.status == "Missing" and not evidence.run_id


def engine_changes(evidence: Evidence, live: Evidence | None) -> list[dict[str, str]]:
    """List engine, device and dtype that differ from the live version's run, which makes the numbers incomparable."""
    if live is None or not live.engine or not evidence.engine:
        return []
    found: list[dict[str, str]] = []
    for key, what in (("name", "engine"), ("device", "device"), ("dtype", "dtype")):
        before, after = str(live.engine.get(key, "")), str(evidence.engine.get(key, ""))
        if before != after:
            found.append(
                {"what": what, "live": one_line(before, 40) or "unknown", "candidate": one_line(after, 40) or "unknown"}
            )
    return found


def sample_documents(samples: Sequence[Mapping[str, object]] | None) -> list[dict[str, object]]:
    """Return at most five predictions, the worst first, with long texts truncated."""
    usable = [sample for sample in samples or () if isinstance(sample, Mapping)]
    scored = sorted(usable, key=_score_or_last)
    return [
        {
            "id": one_line(_text(sample.get("id", "")), 80),
            "score": _score(sample),
            **{
                name: readable(_text(sample.get(name) or ""), LONGEST_SAMPLE)[0]
                for name in ("input", "output", "reference")
            },
        }
        for sample in scored[:SAMPLES_SHOWN]
    ]


def slice_documents(slices: Mapping[str, object] | None, overall: Mapping[str, Metric]) -> list[SliceRow]:
    """Return metrics by slice of the data, with the difference from the whole; unreadable slices are omitted."""
    found: list[SliceRow] = []
    for field, values in (slices or {}).items():
        for value, metrics in values.items() if isinstance(values, Mapping) else ():
            for name, metric in metrics.items() if isinstance(metrics, Mapping) else ():
                measured = number_of(metric.get("value") if isinstance(metric, Mapping) else metric)
                if measured is None:
                    continue
                whole = overall.get(name, Metric()).value
                found.append(
                    {
                        "slice": f"{one_line(str(field), 40)} = {one_line(str(value), 60)}",
                        "metric": one_line(str(name), 60),
                        "value": measured,
                        "change": change(measured, whole),
                        "n": _count(metric.get("n")) if isinstance(metric, Mapping) else None,
                    }
                )
    return found


def worst_slices(slices: Mapping[str, object], rows: Sequence[MetricRow], count: int) -> list[SliceRow]:
    """Return the slices with the worst values of the most important metric.

    That metric is the first of `rows` (from `comparison`) that was measured by slice.
    """
    for row in rows:
        whole = {row["metric"]: Metric(value=row["candidate"]["value"])}
        found = [each for each in slice_documents(slices, whole) if each["metric"] == row["metric"]]
        if found:
            return sorted(found, key=lambda each: -each["value"] if row["lower_is_better"] else each["value"])[:count]
    return []


def finite(value: float | None) -> float | None:
    """Return a finite value unchanged, else None, because JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _ordered(values: Mapping[str, object], first: tuple[str, ...]) -> dict[str, object]:
    """Return `values` with the keys of `first` at the beginning; the ledger sorts keys by name."""
    return {key: values[key] for key in (*first, *values) if key in values}


_STATUS = {"Failed": "failed", "Missing": "never reported"}


def _metric_of(gate: GateResult) -> str:
    return gate.metric if gate.kind in _ABOUT_A_METRIC else ""


def _difference(new: Metric, old: Metric) -> float | None:
    return finite(new.value - old.value) if new.value is not None and old.value is not None else None


def _better(new: Metric, old: Metric, lower: bool) -> bool | None:
    difference = _difference(new, old)
    if not difference:
        return None
    return (difference < 0) == lower


def _overlap(new: Metric, old: Metric) -> bool | None:
    if new.low is None or new.high is None or old.low is None or old.high is None:
        return None
    return new.low <= old.high and old.low <= new.high


def _scale(name: str, metrics: list[Metric], gates: Sequence[GateResult], lower: bool) -> Scale:
    """Return the bars' scale and its strictest bound: 0 to 1 for shares, 0 to 100 for BLEU and similar."""
    bounds = [bound for gate in gates if (bound := _bound(gate)) is not None]
    known = [v for m in metrics for v in (m.value, m.low, m.high) if v is not None] + bounds
    if not known or min(known) < 0:
        return {}
    top = max(known)
    # Without a bound, a live value or a known end of the scale, a bar has no meaning.
    if top > 1 and not bounds and metrics[1].value is None and not name.lower().startswith(_UP_TO_100):
        return {}
    end = 100.0 if name.lower().startswith(_UP_TO_100) and top <= 100 else 1.0 if top <= 1 else top * 1.15
    return {"end": end, "bound": (min(bounds) if lower else max(bounds)) if bounds else None}


def _bound(gate: GateResult) -> float | None:
    """Return the bound on a metric's value; the least number of samples is no bound on its scale."""
    return None if gate.kind is GateKind.SAMPLES else finite(gate.threshold)


def _text(value: object) -> str:
    try:
        return str(value)
    except RecursionError:
        return ""


def _count(value: object) -> int | None:
    count = number_of(value)
    return int(count) if count is not None and 0 <= count <= LARGEST_COUNT else None


def _score_or_last(sample: Mapping[str, object]) -> float:
    score = _score(sample)
    return math.inf if score is None else score


def _score(sample: Mapping[str, object]) -> float | None:
    return number_of(sample.get("score"))


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in values.items()}


def _spoken(name: str) -> str:
    return one_line(name.replace("_psi", "").replace("_", " "), LONGEST_NAME)


def runs_document(request: Request) -> dict[str, object] | None:
    """All completed runs of a request, newest first, with count and spread; None for one run, which is the evidence itself."""
    if request.runs < 2:
        return None
    metrics = dict.fromkeys(metric for run in request.measured for metric in run.values)
    spread = {
        metric: {"low": min(found), "high": max(found)}
        for metric in metrics
        if (found := [run.values[metric] for run in request.measured if metric in run.values])
    }
    return {
        "count": request.runs,
        "passed": request.runs_passed,
        "spread": spread,
        "newest": [
            {"run_id": one_line(run.run_id, 120), "at": iso(run.at), "passed": run.passed, "values": run.values}
            for run in reversed(request.measured)
        ],
    }
