"""Gates: what opens and what shuts them."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion.config.settings import Gate
from promotion.domain.gate_sentences import gate_why
from promotion.domain.gates import evaluate
from promotion.domain.metrics import read_metrics
from promotion.domain.model import Evidence, Metric
from promotion.errors import Invalid
from promotion.formatting import number
from tests.fakes import a_registration

# As metrics are written: a bound is kept to twelve places, below which nobody measures.
FINITE = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def evidence(value: float | None, n: int | None = None) -> Evidence:
    return a_registration(metrics={"m": Metric(value=value, n=n)})


def is_open(gate: Gate, value: float | None, live: float | None = None, n: int | None = None) -> bool:
    before = evidence(live) if live is not None else None
    return all(result.open for result in evaluate([gate], evidence(value, n), before))


@given(FINITE, FINITE, FINITE)
def test_a_better_value_never_shuts_a_gate_that_a_worse_one_opens(bound: float, one: float, other: float) -> None:
    worse, better = sorted((one, other))
    assert is_open(Gate(metric="m", min=bound), worse) <= is_open(Gate(metric="m", min=bound), better)
    assert is_open(Gate(metric="m", max=bound), better) <= is_open(Gate(metric="m", max=bound), worse)


@given(FINITE, FINITE, FINITE, st.floats(0, 10).map(lambda value: round(value, 6)), st.booleans(), st.booleans())
def test_a_better_value_never_shuts_a_gate_against_live(
    one: float, other: float, live: float, allowed: float, relative: bool, lower: bool
) -> None:
    gate = Gate(metric="m", largest_regression=allowed, relative=relative, lower_is_better=lower)
    worse, better = sorted((one, other), reverse=lower)
    assert is_open(gate, worse, live) <= is_open(gate, better, live)
    assert is_open(gate, live, live), "what is live is no regression against itself"


@given(FINITE, FINITE, FINITE)
def test_a_stricter_bound_never_opens_a_shut_gate(value: float, one: float, other: float) -> None:
    lenient, strict = sorted((one, other))
    assert is_open(Gate(metric="m", min=strict), value) <= is_open(Gate(metric="m", min=lenient), value)


@given(st.sampled_from(["min", "max", "largest_regression", "min_samples"]), FINITE)
@example("min", -1e6)
def test_missing_and_nan_shut_every_gate(kind: str, bound: float) -> None:
    limit = abs(int(bound)) + 1 if kind in ("min_samples", "largest_regression") else bound
    gate = msgspec.convert({"metric": "m", kind: limit}, Gate)
    assert not is_open(gate, None)
    assert not is_open(gate, math.nan, live=0.5)
    assert not evaluate([gate], a_registration(metrics={}), None)[0].open


@given(ANY_FLOAT, ANY_FLOAT)
@example(math.nan, 0.5)
@example(-math.inf, -math.inf)
def test_a_shut_gate_says_why_in_numbers(value: float, bound: float) -> None:
    for result in evaluate([Gate(metric="m", min=bound)], evidence(value), None):
        assert result.open == (math.isfinite(value) and value >= bound)
        assert bool(gate_why(result)) == (not result.open)


def test_nothing_live_leaves_a_regression_gate_open() -> None:
    gate = Gate(metric="m", largest_regression=0.01)
    assert is_open(gate, 0.1)
    assert is_open(gate, 0.1, live=math.nan)
    assert not is_open(gate, None)


@pytest.mark.parametrize(
    ("gate", "value", "live", "expected"),
    [
        (Gate(metric="m", min=0.5), 0.5, None, True),
        (Gate(metric="m", min=0.5), 0.49999, None, False),
        (Gate(metric="m", largest_regression=0.1, relative=True), 0.81, 0.9, True),
        (Gate(metric="m", largest_regression=0.1, relative=True), 0.80, 0.9, False),
        (Gate(metric="m", largest_regression=0.1, relative=True), -1.05, -1.0, True),
        (Gate(metric="m", largest_regression=5.0, lower_is_better=True), 14.0, 10.0, True),
        (Gate(metric="m", largest_regression=5.0, lower_is_better=True), 16.0, 10.0, False),
    ],
)
def test_bounds_are_inclusive_and_regressions_know_their_direction(
    gate: Gate, value: float, live: float | None, expected: bool
) -> None:
    assert is_open(gate, value, live) is expected


def test_counts_drift_licence_and_attachments() -> None:
    run = a_registration(
        counts={"records": 100, "errors": 3}, drift={"a": 0.1, "b": 0.3}, licence="mit", attached=("model_card",)
    )
    wanted = {
        Gate(largest_error_rate=0.03): True,
        Gate(largest_error_rate=0.02): False,
        Gate(largest_drift=0.3): True,
        Gate(largest_drift=0.2): False,
        Gate(licences=("mit", "apache-2.0")): True,
        Gate(licences=("apache-2.0",)): False,
        Gate(requires="model_card"): True,
        Gate(requires="report"): False,
    }
    for gate, expected in wanted.items():
        [result] = evaluate([gate], run, None)
        assert result.open is expected, gate


def test_no_records_no_drift_and_no_licence_shut_their_gates() -> None:
    gates = [Gate(largest_error_rate=1.0), Gate(largest_drift=9.0), Gate(licences=("mit",))]
    assert [result.open for result in evaluate(gates, a_registration(), None)] == [False, False, False]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"accuracy": 0.9, "n": 3}, {"accuracy": 0.9, "n": 3.0}),
        ({"schema": 1, "metrics": {"m": {"value": 0.4, "low": 0.3, "n": 5}}}, {"m": 0.4}),
        ({"regression_metrics": {"mae": {"value": 0.3, "standard_deviation": 0.1}}}, {"mae": 0.3}),
        ({"m": {"value": "NaN"}}, {"m": None}),
        ({"m": True, "name": "x", "nested": {"a": 1}}, {}),
        ({}, {}),
    ],
)
def test_metrics_documents_of_three_forms(document: object, expected: dict[str, float | None]) -> None:
    assert {name: metric.value for name, metric in read_metrics(document).items()} == expected


@pytest.mark.parametrize("document", [[], "x", 3, None])
def test_anything_else_is_no_metrics_document(document: object) -> None:
    with pytest.raises(Invalid):
        read_metrics(document)


def test_a_deviation_becomes_an_interval() -> None:
    metric = read_metrics({"x_metrics": {"m": {"value": 1.0, "standard_deviation": 0.5}}})["m"]
    assert [metric.low, metric.high] == pytest.approx([0.02, 1.98])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (1234567.0, "1,234,567"), (None, "missing"), (math.nan, "missing"), (0.41234567, "0.4123")],
)
def test_numbers_as_people_read_them(value: float | None, text: str) -> None:
    assert number(value) == text
