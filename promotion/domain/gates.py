"""Gates: conditions on evidence that a request must meet. One pure function, the same in mail, page, JSON and command."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from promotion.config.settings import Gate
from promotion.domain.model import Evidence, GateResult, Metric
from promotion.formatting import is_known, number, share

Say = Callable[[float | None], str]
# The gate that nobody configures, and that a failed run shuts.
RUN = "inference run"


def evaluate(gates: Iterable[Gate], evidence: Evidence, live: Evidence | None) -> tuple[GateResult, ...]:
    """What each gate says of `evidence`, with `live` the evidence on which what is live there was admitted.

    A bound on a metric that is missing or NaN is shut. `largest_regression` is open where nothing is live yet. A run that
    failed shuts the way whether or not there are gates: nobody may approve on evidence that was never made.
    """
    results = [result for gate in gates for result in _judge(gate, evidence, live)]
    if evidence.status == "Failed":
        why = f"The inference run failed: {evidence.problem or 'no reason was given'}"
        results.insert(0, GateResult(name=RUN, open=False, bound="completed", why=why))
    return tuple(results)


def _judge(gate: Gate, evidence: Evidence, live: Evidence | None) -> list[GateResult]:
    if gate.metric is not None:
        return _judge_metric(gate, gate.metric, evidence, live)
    if gate.largest_error_rate is not None:
        return [_at_most("error rate", _error_rate(evidence), gate.largest_error_rate, say=share)]
    if gate.largest_drift is not None:
        return [_at_most("drift", largest_drift(evidence), gate.largest_drift, say=_stability)]
    if gate.licences is not None:
        return [_licence(gate.licences, evidence.licence)]
    required = gate.requires or ""
    attached = required in evidence.attached
    why = "" if attached else f"no {required.replace('_', ' ')} is attached."
    return [GateResult(name=required.replace("_", " "), open=attached, bound="attached", why=why)]


def _judge_metric(gate: Gate, name: str, evidence: Evidence, live: Evidence | None) -> list[GateResult]:
    metric = evidence.metrics.get(name, Metric())
    results: list[GateResult] = []
    if gate.min is not None:
        results.append(_at_least(name, metric.value, gate.min))
    if gate.max is not None:
        results.append(_at_most(name, metric.value, gate.max))
    if gate.min_samples is not None:
        results.append(_at_least(f"{name} samples", metric.n, gate.min_samples))
    if gate.largest_regression is not None:
        results.append(_regression(gate, name, metric.value, live))
    return results


def _error_rate(evidence: Evidence) -> float | None:
    """The share of records that failed; None where nobody counted them: a document without `errors` doesn't say none."""
    records, errors = evidence.counts.get("records", 0), evidence.counts.get("errors")
    return errors / records if records > 0 and errors is not None else None


def largest_drift(evidence: Evidence) -> float | None:
    """The largest population stability index of the inputs, or None where there is none, or one of them is no number."""
    if not evidence.drift or not all(math.isfinite(value) for value in evidence.drift.values()):
        return None
    return max(evidence.drift.values())


def _licence(allowed: Sequence[str], found: str) -> GateResult:
    """Where a package names several licences (`A AND B`), each has to be allowed."""
    known = {licence.casefold() for licence in allowed}
    named = [licence.strip() for licence in found.split(" AND ")] if found else []
    refused = [licence for licence in named if licence.casefold() not in known]
    bound = f"one of {', '.join(allowed)}"
    if named and not refused:
        return GateResult(name="licence", open=True, bound=bound)
    said = f"the licence is {', '.join(refused)}" if refused else "the package names no licence"
    return GateResult(name="licence", open=False, bound=bound, why=f"{said}; allowed are {', '.join(allowed)}.")


def _regression(gate: Gate, name: str, value: float | None, live: Evidence | None) -> GateResult:
    assert gate.largest_regression is not None
    title = f"{name} against live"
    allowed = share(gate.largest_regression) if gate.relative else number(gate.largest_regression)
    bound = f"at most {allowed} worse"
    reference = live.metrics.get(name, Metric()).value if live else None
    if reference is None or not math.isfinite(reference):
        if not is_known(value):
            return GateResult(name=title, open=False, bound=bound, why=f"{name} is missing.")
        nothing = f"what is live has no {name}" if live else "nothing to compare with"
        return GateResult(name=title, open=True, value=value, bound=f"{bound}; {nothing}")
    limit = gate.largest_regression * abs(reference) if gate.relative else gate.largest_regression
    # Rounded, because 0.65 - 0.05 is a little more than 0.6, and who is exactly as much worse as allowed may pass.
    if gate.lower_is_better:
        return _at_most(
            title, value, round(reference + limit, 12), label=name, bound=f"{bound} than {number(reference)}"
        )
    return _at_least(title, value, round(reference - limit, 12), label=name, bound=f"{bound} than {number(reference)}")


def _at_least(name: str, value: float | None, minimum: float, *, label: str = "", bound: str = "") -> GateResult:
    label, bound = label or name, bound or f"at least {number(minimum)}"
    # Written as "not >=" so that NaN shuts the gate too.
    if value is None or not math.isfinite(value) or not value >= minimum:
        return _shut(name, label, value, bound, _difference(value, minimum), f"at least {number(minimum)}", number)
    return GateResult(name=name, open=True, value=value, bound=bound, margin=value - minimum)


def _at_most(
    name: str, value: float | None, maximum: float, *, label: str = "", bound: str = "", say: Say | None = None
) -> GateResult:
    said = say or number
    label, bound = label or name, bound or f"at most {said(maximum)}"
    if value is None or not math.isfinite(value) or not value <= maximum:
        return _shut(name, label, value, bound, _difference(maximum, value), f"at most {said(maximum)}", said)
    return GateResult(name=name, open=True, value=value, bound=bound, margin=maximum - value)


def _shut(
    name: str, label: str, value: float | None, bound: str, margin: float | None, needed: str, say: Say
) -> GateResult:
    why = f"{label} is {say(value)}; it has to be {needed}." if is_known(value) else f"{label} is missing."
    return GateResult(
        name=name, open=False, value=value if is_known(value) else None, bound=bound, margin=margin, why=why
    )


def _difference(above: float | None, below: float | None) -> float | None:
    if above is None or below is None or not math.isfinite(above) or not math.isfinite(below):
        return None
    return above - below


def _stability(value: float | None) -> str:
    return f"{number(value)} PSI" if is_known(value) else "missing"
