"""English sentences for gate results, in refusals, pages, mails and command; not in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.metrics import looks_like_percent
from promotion.formatting import is_known, number, share


def gate_name(gate: GateResult) -> str:
    """Name of a gate: `rougeL`, `rougeL samples`, `rougeL against live`, `error rate`."""
    match gate.kind:
        case GateKind.MIN | GateKind.MAX:
            return gate.metric
        case GateKind.SAMPLES:
            return f"{gate.metric} samples"
        case GateKind.REGRESSION:
            return f"{gate.metric} against live"
        case GateKind.ERROR_RATE:
            return "error rate"
        case GateKind.DRIFT:
            return "drift"
        case GateKind.LICENCE:
            return "licence"
        case GateKind.ATTACHED:
            return gate.required.replace("_", " ")
        case GateKind.RUN:
            return "inference run"
        case _:
            assert_never(gate.kind)


def gate_bound(gate: GateResult) -> str:
    """Bound of a gate in words: `at least 0.6`."""
    match gate.kind:
        case GateKind.MIN | GateKind.SAMPLES:
            return f"at least {number(gate.limit)}"
        case GateKind.MAX | GateKind.ERROR_RATE | GateKind.DRIFT:
            return f"at most {_formatter(gate.kind)(gate.limit)}"
        case GateKind.REGRESSION:
            return _regression(gate)
        case GateKind.LICENCE:
            return f"one of {', '.join(gate.allowed)}"
        case GateKind.ATTACHED:
            return "attached"
        case GateKind.RUN:
            return "completed"
        case _:
            assert_never(gate.kind)


def gate_why(gate: GateResult) -> str:
    """Sentence that says why a gate failed; empty where it passed."""
    if gate.open:
        return ""
    match gate.kind:
        case GateKind.LICENCE:
            said = f"the licence is {', '.join(gate.refused)}" if gate.refused else "the package names no licence"
            return f"{said}; allowed are {', '.join(gate.allowed)}."
        case GateKind.ATTACHED:
            return f"no {gate_name(gate)} is attached."
        case GateKind.RUN:
            return f"The inference run failed: {gate.problem or 'no reason was given'}"
        case GateKind.REGRESSION:
            needed = f"at {'most' if gate.lower_is_better else 'least'} {number(gate.threshold)}"
            return _measured(gate, gate.metric, needed)
        case GateKind.MIN | GateKind.MAX | GateKind.SAMPLES | GateKind.ERROR_RATE | GateKind.DRIFT:
            return _measured(gate, gate_name(gate), gate_bound(gate))
        case _:
            assert_never(gate.kind)


def is_percent(gate: GateResult, value: float | None) -> bool:
    """Return True if a value is in percent but its gate is about a share: it passes no gate.

    A gate's own limit above 1 means percent.
    """
    about = gate.kind in (GateKind.MIN, GateKind.MAX, GateKind.REGRESSION)
    return about and (gate.limit is None or gate.limit <= 1) and looks_like_percent(gate.metric, value)


def _measured(gate: GateResult, label: str, needed: str) -> str:
    if not is_known(gate.value):
        return f"{label} is missing."
    if is_percent(gate, gate.value):
        return (
            f"{label} is {number(gate.value)}, which looks like percent; it is a share, from 0 to 1: write it as one."
        )
    return f"{label} is {_formatter(gate.kind)(gate.value)}; it has to be {needed}."


def _regression(gate: GateResult) -> str:
    allowed = share(gate.limit) if gate.relative else number(gate.limit)
    bound = f"at most {allowed} worse"
    if gate.live_value is not None:
        return f"{bound} than {number(gate.live_value)}"
    if not is_known(gate.value):
        return bound
    return f"{bound}; {f'what is live has no {gate.metric}' if gate.something_live else 'nothing to compare with'}"


def _formatter(kind: GateKind) -> Callable[[float | None], str]:
    if kind is GateKind.ERROR_RATE:
        return share
    return _stability if kind is GateKind.DRIFT else number


def _stability(value: float | None) -> str:
    return f"{number(value)} PSI" if is_known(value) else "missing"
