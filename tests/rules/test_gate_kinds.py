"""Each kind of gate: what opens it, what shuts it, and that progress never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promotion.config.loading import parse
from promotion.config.settings import Gate
from promotion.domain.canonical_json import canonical
from promotion.domain.gate_result import GateResult
from promotion.domain.gate_sentences import gate_bound, gate_name, gate_why
from promotion.domain.gates import evaluate
from promotion.domain.metrics import ROOM, evidence_of
from promotion.domain.model import Evidence
from promotion.domain.registration import attached_to, carried, licence_of
from promotion.errors import Invalid
from promotion.rendering.documents.evidence import stopped_by
from tests.fakes import CONFIG_TEXT, a_package, a_run

COUNT = st.integers(0, 10_000)
SHARE = st.floats(0, 1)


def judged(gate: Gate, **evidence: Any) -> GateResult:
    (result,) = evaluate([gate], a_run("dev", **evidence), None)
    return result


@given(records=st.integers(1, 10_000), errors=COUNT, fewer=COUNT, largest=SHARE)
@example(records=10, errors=1, fewer=1, largest=0.1)
def test_fewer_errors_never_shut_the_gate(records: int, errors: int, fewer: int, largest: float) -> None:
    gate = Gate(largest_error_rate=largest)
    before = judged(gate, counts={"records": records, "errors": max(errors, fewer)})
    after = judged(gate, counts={"records": records, "errors": min(errors, fewer)})
    assert after.open or not before.open


@given(
    drift=st.dictionaries(st.sampled_from(["length_psi", "vocabulary_psi"]), st.floats(0, 5), min_size=1), less=SHARE
)
def test_less_drift_never_shuts_the_gate(drift: dict[str, float], less: float) -> None:
    gate = Gate(largest_drift=0.25)
    before, after = judged(gate, drift=drift), judged(gate, drift={name: v * less for name, v in drift.items()})
    assert after.open or not before.open


@pytest.mark.parametrize("counts", [{}, {"errors": 0}, {"records": 0, "errors": 0}, {"records": 60}])
def test_errors_that_nobody_counted_shut_the_gate(counts: dict[str, int]) -> None:
    result = judged(Gate(largest_error_rate=0.5), counts=counts)
    assert (result.open, gate_why(result)) == (False, "error rate is missing.")


@pytest.mark.parametrize(
    ("gate", "name", "said"),
    [
        (Gate(metric="rougeL", min_samples=100), "rougeL samples", "rougeL samples 60, needs at least 100"),
        (Gate(requires="model_card"), "model card", "no model card"),
        (Gate(licences=("mit",)), "licence", "licence needs one of mit"),
        (Gate(metric="bleu", min=30), "bleu", "bleu missing, needs at least 30"),
    ],
)
def test_a_subject_has_the_gate_that_failed_and_what_it_needs(gate: Gate, name: str, said: str) -> None:
    failed = judged(gate)
    assert (gate_name(failed), stopped_by([failed])) == (name, f"quality gate failed ({said})")
    assert stopped_by([failed, failed]) == f"quality gate failed ({said}, and 1 more gate)"


def test_an_error_rate_is_said_as_a_share_and_drift_with_its_unit() -> None:
    rate = judged(Gate(largest_error_rate=0.05), counts={"records": 60, "errors": 9})
    assert (gate_bound(rate), gate_why(rate)) == ("at most 5%", "error rate is 15%; it has to be at most 5%.")
    drift = judged(Gate(largest_drift=0.25), drift={"length_psi": 0.1, "vocabulary_psi": 0.3})
    assert (drift.value, gate_why(drift)) == (0.3, "drift is 0.3 PSI; it has to be at most 0.25 PSI.")


@pytest.mark.parametrize(
    "drift", [{}, {"length_psi": 0.1, "vocabulary_psi": float("nan")}, {"length_psi": float("inf")}]
)
def test_drift_that_is_missing_or_no_number_shuts_the_gate(drift: dict[str, float]) -> None:
    assert not judged(Gate(largest_drift=9.0), drift=drift).open


def test_one_measure_of_drift_that_is_no_number_leaves_none() -> None:
    document = json.loads('{"metrics": {}, "drift": {"length_psi": 0.1, "vocabulary_psi": NaN}}')
    found = evidence_of(document, source="inference")
    assert (found.drift, found.problem) == ({}, "drift is not kept, because vocabulary_psi is not a number")


@pytest.mark.parametrize("part", ["metrics", "counts", "engine"])
def test_a_part_of_too_many_entries_is_named_and_its_first_ones_stay(part: str) -> None:
    found = evidence_of({part: {f"n{number}": 1 for number in range(201)}}, source="inference")
    kept = getattr(found, part)
    assert (len(kept), next(iter(kept)), found.problem) == (200, "n0", f"the document has more than is kept of {part}")


def test_drift_of_too_many_columns_is_named_and_none_stays() -> None:
    found = evidence_of({"drift": {f"n{number}": 1 for number in range(201)}}, source="inference")
    assert (found.drift, found.problem) == ({}, "the document has more than is kept of drift")


@pytest.mark.parametrize(
    ("licence", "is_open"),
    [
        ("Apache-2.0", True),
        ("apache-2.0 AND mit", True),
        ("mit AND cc-by-nc-4.0", False),
        ("cc-by-nc-4.0", False),
        ("", False),
        ("apache-2.0, honestly", False),
    ],
)
def test_every_licence_that_binds_has_to_be_allowed(licence: str, is_open: bool) -> None:
    result = judged(Gate(licences=("apache-2.0", "MIT")), licence=licence)
    assert result.open is is_open
    assert bool(gate_why(result)) is not is_open


def test_a_licence_of_the_base_model_binds_too() -> None:
    metadata = {"licence": "apache-2.0", "base-model-license": "llama3", "team": "news"}
    assert licence_of(metadata) == "apache-2.0 AND llama3"
    assert licence_of({"License": "MIT", "licence": "mit"}) in ("MIT", "mit")
    assert licence_of({}) == ""


@pytest.mark.parametrize("required", ["model_card", "report"])
def test_required_documents_must_be_attached(required: Any) -> None:
    gate = Gate(requires=required)
    assert judged(gate, attached=(required,)).open
    shut = judged(gate)
    assert (shut.open, gate_why(shut)) == (False, f"no {required.replace('_', ' ')} is attached.")


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '"text"', None, 7, "[" * 100_000])
def test_a_model_card_that_is_no_json_object_is_none(content: Any) -> None:
    assert attached_to({"ModelCard": {"ModelCardContent": content}}) == ()
    assert attached_to({"ModelCard": content}) == ()


def test_a_report_counts_where_it_has_a_place() -> None:
    place = {"S3Uri": "s3://b/bias.json", "ContentType": "application/json"}
    for metrics in ({"Bias": {"PreTrainingReport": place}}, {"Explainability": {"Report": place}}):
        assert attached_to({"ModelMetrics": metrics}) == ("report",)
    nothings: tuple[dict[str, Any], ...] = ({}, {"Bias": {}}, {"Bias": {"Report": {}}}, {"Explainability": "yes"})
    for nothing in nothings:
        assert attached_to({"ModelMetrics": nothing}) == ()


def test_a_run_carries_what_its_version_was_registered_with() -> None:
    package = a_package(1, licence="mit", attached=("model_card",))
    run = a_run("dev", licence="forged", attached=("model_card", "report"))
    assert (carried(run, package).licence, carried(run, package).attached) == ("mit", ("model_card",))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["metrics", "counts", "drift", "engine", "latency_ms", "throughput", "task"]),
)
@example({"m": {"value": 10**400, "n": 10**400}}, "metrics")
@example({"records": 10**400}, "counts")
def test_any_metrics_document_is_read_and_fits_the_ledger(part: Any, field: str) -> None:
    found = evidence_of({field: part}, source="inference")
    assert len(canonical(found)) < 300_000


def test_metrics_nested_without_end_are_none() -> None:
    nested: dict[str, Any] = {"accuracy": "7x"}
    for _ in range(100_000):
        nested = {"deep_metrics": nested}
    found = evidence_of({"auc": 0.5, **nested}, source="inference")
    assert list(found.metrics) == ["auc"]


def test_what_has_no_room_is_said_and_the_first_metrics_stay() -> None:
    wide = ["\U0001f600" * 110 + f"{number:010d}" for number in range(200)]
    document = {
        "metrics": {"rougeL": 0.5, **dict.fromkeys(wide, 0.1)},
        **dict.fromkeys(("counts", "latency_ms", "throughput", "drift"), dict.fromkeys(wide, 1)),
        "engine": dict.fromkeys(wide, "\x01" * 200),
    }
    found = evidence_of(document, source="inference")
    assert len(canonical(found)) < sum(ROOM.values()) + 1_000
    assert found.metrics["rougeL"].value == 0.5
    assert found.drift == {}
    assert found.problem == (
        "the document has more than is kept of metrics, counts, latency_ms, throughput, drift and engine"
    )
    honest = {f"metric_{number}": {"value": 0.12345678, "low": 0.1, "high": 0.2, "n": 240} for number in range(200)}
    whole = evidence_of({"metrics": honest, "drift": dict.fromkeys(honest, 0.123456)}, source="inference")
    assert (len(whole.metrics), len(whole.drift), whole.problem) == (200, 200, "")


def test_a_huge_metrics_document_is_cut() -> None:
    document = {
        "metrics": {f"metric-{n}" * 40: {"value": 0.5, "n": 60} for n in range(5000)},
        "engine": {f"fact-{n}": "x" * 5000 for n in range(500)},
        "task": "t" * 100_000,
    }
    assert len(canonical(evidence_of(document, source="inference"))) < 200_000


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ('metric = "loss"\nmax = 2\nlargest_regression = 0.1', "lower_is_better = true"),
        ('metric = "f1"\nmin = 0.2\nlargest_regression = 0.1\nlower_is_better = true', "can't be true"),
        ('metric = "f1"\nmin = nan', "finite"),
        ('metric = "f1"\nmax = inf', "finite"),
        ('metric = "f1"\nlargest_regression = -0.1', ">= 0"),
        ('metric = "f1"\nmin = 0.1\nrelative = true', "only largest_regression"),
        ("largest_drift = 0.2\nmin = 0.1", "bounds on a metric"),
        ("licences = []", "at least one"),
        ('metric = "f1"\nmin_samples = 0', ">= 1"),
    ],
)
def test_a_gate_that_contradicts_itself_is_refused(gate: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse(f"{CONFIG_TEXT}\n[[environments.gates]]\n{gate}\n")


def test_a_gate_says_where_what_is_live_has_no_such_metric() -> None:
    gate = Gate(metric="rougeL", largest_regression=0.05)
    (result,) = evaluate([gate], a_run("dev", 0.7), Evidence(source="registration"))
    assert result.open
    assert gate_bound(result) == "at most 0.05 worse; what is live has no rougeL"
