"""ROC curves and confusion matrices: as documents give them, as the ledger keeps them, as the page draws them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.domain.canonical_json import canonical
from promotion.domain.curves import MOST_CLASSES, MOST_POINTS, Confusion, area, read_confusion, read_roc
from promotion.domain.metrics import evidence_of, read_metrics
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import ANN, Scenario, measured, page, picture

# The form of https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html. Precision is 1 of 3 there:
# the outer name is the true class.
BINARY: dict[str, Any] = {
    "binary_classification_metrics": {
        "confusion_matrix": {"0": {"0": 1, "1": 2}, "1": {"0": 0, "1": 1}},
        "precision": {"value": 1 / 3, "standard_deviation": "NaN"},
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": [0.0, 0.5, 1.0],
            "true_positive_rates": [0.0, 0.75, 1.0],
        },
    }
}


def test_sagemakers_form_is_read_and_its_metrics_stay_numbers() -> None:
    assert read_confusion(BINARY) == Confusion(labels=("0", "1"), counts=((1, 2), (0, 1)))
    assert read_roc(BINARY) == ((0.0, 0.0), (0.5, 0.75), (1.0, 1.0))
    assert area(read_roc(BINARY)) == pytest.approx(0.625)
    assert list(read_metrics(BINARY)) == ["precision"]


def test_this_services_own_form_is_read() -> None:
    own = {"metrics": {}, "confusion": {"labels": ["no", "yes"], "counts": [[5, 1], [2, 9]]}}
    assert read_confusion(own) == Confusion(labels=("no", "yes"), counts=((5, 1), (2, 9)))


@pytest.mark.parametrize("counts", [[[5, 1]], [[5, 1], [2]], [[5, 1], 9], None])
def test_a_matrix_that_is_not_square_is_left_out(counts: object) -> None:
    assert read_confusion({"confusion": {"labels": ["no", "yes"], "counts": counts}}) is None


def test_a_class_that_is_only_ever_given_has_a_row_of_zeros() -> None:
    found = read_confusion({"confusion_matrix": {"a": {"a": 1, "b": 2}}})
    assert found == Confusion(labels=("a", "b"), counts=((1, 2), (0, 0)))


def test_the_most_frequent_classes_are_kept_in_their_order() -> None:
    matrix = {f"c{n:02d}": {f"c{n:02d}": n + 1} for n in range(30)}
    found = read_confusion({"confusion_matrix": matrix})
    assert found is not None
    assert found.labels == tuple(f"c{n:02d}" for n in range(20, 30))
    assert (len(found.labels), found.left_out) == (MOST_CLASSES, 20)


def test_very_many_classes_take_no_more_than_their_file() -> None:
    """Each class against each other one would be ten thousand million cells."""
    found = read_confusion({"confusion_matrix": {f"{number}": {f"{number}": 1} for number in range(100_000)}})
    assert found is not None
    assert (len(found.labels), found.left_out) == (MOST_CLASSES, 100_000 - MOST_CLASSES)


@pytest.mark.parametrize(
    "matrix",
    [
        [],
        {"a": 1},
        {"a": {"a": 1}},
        {"a": {"a": -1, "b": 2}},
        {"a": {"a": 0.5, "b": 1}},
        {"a": {"a": "x", "b": 1}},
        {"a": {"a": 10**400, "b": 1}},
        {"a": {"a": float("nan"), "b": 1}},
        {"a": {"a": float("inf"), "b": 1}},
    ],
)
def test_an_invalid_matrix_is_left_out(matrix: object) -> None:
    assert read_confusion({"confusion_matrix": matrix}) is None


@pytest.mark.parametrize(
    ("false", "true"),
    [([0, 1], [0]), ([0, 2], [0, 1]), ([0, float("nan")], [0, 1]), ([0], [0]), (None, [0, 1]), ([0, True], [0, 1])],
)
def test_an_invalid_curve_is_left_out(false: object, true: object) -> None:
    curve = {"false_positive_rates": false, "true_positive_rates": true}
    assert read_roc({"receiver_operating_characteristic_curve": curve}) == ()


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rates = [step / 5000 for step in range(5001)]
    curve = {"false_positive_rates": rates, "true_positive_rates": [rate**0.5 for rate in rates]}
    found = read_roc({"receiver_operating_characteristic_curve": curve})
    assert len(found) <= MOST_POINTS
    assert (found[0], found[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert area(found) == pytest.approx(2 / 3, abs=0.005)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(ANYTHING, ANYTHING)
def test_any_document_makes_evidence_that_fits_the_ledger(matrix: object, curve: object) -> None:
    document = {"confusion_matrix": matrix, "receiver_operating_characteristic_curve": curve, "confusion": curve}
    assert len(canonical(evidence_of(document, source="registration"))) < 100_000


def test_the_page_draws_the_curve_beside_lives_and_the_matrix_as_a_table() -> None:
    html = page("request", scenarios.classifier().request("dev", 2))
    document = Document(html)
    plot = next(each for each in document.all("svg") if each.attributes.get("class") == "plot")
    label = plot.attributes["aria-label"]
    assert re.fullmatch(
        r"ROC curve, area 0.8: with 10% false positives or fewer it finds 3[0-9.]+% of the positives", label
    )
    assert sum(each.attributes.get("class") == "curve live" for each in document.all("line")) > 10
    given = [each for each in document.all("td") if each.attributes.get("data-label", "").startswith("given ")]
    said = [" ".join(each.text.split()) for each in given]
    assert said == ["1,812 94.97%", "96 5.031%", "84 28.77%", "208 71.23%"]


def test_registered_curves_stay_beside_those_of_a_run() -> None:
    scenario = Scenario()
    scenario.registers(1, evidence=scenarios.classified(3.0))
    scenario.decides("dev", 1)
    scenario.runs("dev", 1, measured(0.7, confusion=Confusion(labels=("a", "b"), counts=((3, 1), (0, 4)))))
    said = [each["said"] for each in scenario.request("test", 1, ANN)["curves"]]
    assert said == ["As measured in dev", "As registered"]
    assert scenarios.first_request().request("dev", 1)["curves"] == []


def test_a_picture_of_what_the_page_draws_is_shown_once() -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.decides("dev", 1)
    matrix = Confusion(labels=("a", "b"), counts=((3, 1), (0, 4)))
    scenario.runs("dev", 1, measured(0.7, confusion=matrix, pictures=("metrics.png", "confusion.png", "roc.png")))
    shown = scenario.request("test", 1, picture=picture)["pictures"]
    assert [each["alternative"][:3] for each in shown] == ["Met", "roc"]


def test_a_hostile_label_is_text() -> None:
    scenario = Scenario()
    label = "<script>alert(1)</script>"
    document = {"confusion_matrix": {label: {label: 1, "b\u202ex": 2}, "b\u202ex": {label: 0, "b\u202ex": 1}}}
    scenario.registers(1, evidence=evidence_of(document, source="registration"))
    html = page("request", scenario.request("dev", 1))
    assert "<script>" not in html
    assert "\u202e" not in html
