"""Quality gates: conditions on evidence, as one pure function for mail, page, JSON and command."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from promotion.config.settings import Gate
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.gate_sentences import is_percent
from promotion.domain.metrics import looks_like_percent, name_in
from promotion.domain.model import Evidence, Metric
from promotion.formatting import is_known


def evaluate(gates: Iterable[Gate], evidence: Evidence, live: Evidence | None) -> tuple[GateResult, ...]:
    """Evaluate each gate on `evidence`; `live` is the evidence that admitted the environment's live version.

    A bound on a metric that is missing or NaN fails. `largest_regression` passes if no version is live yet. A failed run always
    counts as a failed gate, because nobody may approve without evidence.
    """
    results = [result for gate in gates for result in _judge(gate, evidence, live)]
    if evidence.status == "Failed":
        results.insert(0, GateResult(kind=GateKind.RUN, open=False, problem=evidence.problem))
    return tuple(results)


def _judge(gate: Gate, evidence: Evidence, live: Evidence | None) -> list[GateResult]:
    if gate.metric is not None:
        return _judge_metric(gate, gate.metric, evidence, live)
    if gate.largest_error_rate is not None:
        return [_bounded(GateKind.ERROR_RATE, _error_rate(evidence), gate.largest_error_rate)]
    if gate.largest_drift is not None:
        return [_bounded(GateKind.DRIFT, largest_drift(evidence), gate.largest_drift)]
    if gate.licences is not None:
        return [_licence(gate.licences, evidence.licence)]
    required = gate.requires or ""
    return [GateResult(kind=GateKind.ATTACHED, open=required in evidence.attached, required=required)]


def _judge_metric(gate: Gate, name: str, evidence: Evidence, live: Evidence | None) -> list[GateResult]:
    metric = evidence.metrics.get(name_in(evidence.metrics, name), Metric())
    results: list[GateResult] = []
    if gate.min is not None:
        results.append(_bounded(GateKind.MIN, metric.value, gate.min, metric=name))
    if gate.max is not None:
        results.append(_bounded(GateKind.MAX, metric.value, gate.max, metric=name))
    if gate.min_samples is not None:
        results.append(_bounded(GateKind.SAMPLES, metric.n, gate.min_samples, metric=name))
    if gate.largest_regression is not None:
        results.append(_regression(gate, name, metric.value, live))
    return results


def _error_rate(evidence: Evidence) -> float | None:
    """Share of records that failed; None if `errors` is missing, as a missing count is not zero."""
    records, errors = evidence.counts.get("records", 0), evidence.counts.get("errors")
    return errors / records if records > 0 and errors is not None else None


def largest_drift(evidence: Evidence) -> float | None:
    """Return the largest population stability index; None if there is none, or one is not a number."""
    if not evidence.drift or not all(math.isfinite(value) for value in evidence.drift.values()):
        return None
    return max(evidence.drift.values())


def _licence(allowed: Sequence[str], found: str) -> GateResult:
    """Evaluate the licence gate; of several licences (`A AND B`) each has to be allowed."""
    known = {licence.casefold() for licence in allowed}
    named = [licence.strip() for licence in found.split(" AND ")] if found else []
    refused = [licence for licence in named if licence.casefold() not in known]
    return GateResult(
        kind=GateKind.LICENCE, open=bool(named) and not refused, allowed=tuple(allowed), refused=tuple(refused)
    )


def _regression(gate: Gate, name: str, value: float | None, live: Evidence | None) -> GateResult:
    reference = live.metrics.get(name_in(live.metrics, name), Metric()).value if live else None
    if looks_like_percent(name, reference) and gate.largest_regression is not None and gate.largest_regression <= 1:
        reference = None
    result = GateResult(
        kind=GateKind.REGRESSION,
        open=False,
        metric=name,
        limit=gate.largest_regression,
        live_value=reference if is_known(reference) else None,
        relative=gate.relative,
        lower_is_better=gate.lower_is_better,
        something_live=live is not None,
    )
    if is_percent(result, value):
        return replace(result, value=value)
    if result.threshold is None:
        return replace(result, open=is_known(value), value=value if is_known(value) else None)
    return _held(result, value)


def _bounded(kind: GateKind, value: float | None, limit: float, *, metric: str = "") -> GateResult:
    return _held(GateResult(kind=kind, open=False, metric=metric, limit=limit), value)


_AT_LEAST = frozenset({GateKind.MIN, GateKind.SAMPLES})


def _held(result: GateResult, value: float | None) -> GateResult:
    """Return `result` with `value` compared with its threshold."""
    threshold = result.threshold
    if value is None or not math.isfinite(value) or threshold is None:
        return result
    if is_percent(result, value):
        return replace(result, value=value)
    least = result.kind in _AT_LEAST or (result.kind is GateKind.REGRESSION and not result.lower_is_better)
    margin = value - threshold if least else threshold - value
    is_open = value >= threshold if least else value <= threshold
    return replace(result, open=is_open, value=value, margin=margin if math.isfinite(margin) else None)
