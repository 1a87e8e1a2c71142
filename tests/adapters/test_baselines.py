"""The baseline that a run's drift is measured against: SageMaker's statistics with the constraints beside them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import prepare_inference
from promotion import names
from tests.adapters.conftest import MODELS, Aws

STATISTICS, CONSTRAINTS = {"features": [{"name": "amount"}]}, {"features": [{"name": "amount", "completeness": 1.0}]}


@pytest.fixture
def s3(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(prepare_inference, "client", lambda service: aws.s3)
    return aws.s3


def baseline(s3: Any, name: str, **files: Any) -> Any:
    """Return what a run gets of a package whose statistics have this name, with these files beside."""
    for file, document in files.items():
        s3.put_object(Bucket=MODELS, Key=f"b/{file}.json", Body=json.dumps(document).encode())
    package = SimpleNamespace(baseline_uri=f"s3://{MODELS}/b/{name}")
    return prepare_inference._baseline(SimpleNamespace(package=package))  # type: ignore[arg-type]


def test_constraints_beside_the_statistics_come_with_them(s3: Any) -> None:
    found = baseline(s3, "statistics.json", statistics=STATISTICS, constraints=CONSTRAINTS)
    assert found == {**STATISTICS, "constraints": CONSTRAINTS}


def test_statistics_without_constraints_are_a_baseline(s3: Any) -> None:
    assert baseline(s3, "statistics.json", statistics=STATISTICS) == STATISTICS


def test_a_profile_of_ours_has_no_constraints_beside_it(s3: Any) -> None:
    profile = {"schema": 1, "columns": {}}
    assert baseline(s3, "baseline.json", baseline=profile, constraints=CONSTRAINTS) == profile


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[" * 5_000, "is not JSON"),
        (b'["x"]', "neither a profile"),
        (b"{}", "neither a profile"),
    ],
)
def test_a_baseline_that_is_none_is_named_in_its_place(s3: Any, body: bytes, reason: str) -> None:
    s3.put_object(Bucket=MODELS, Key="b/statistics.json", Body=body)
    [(name, said)] = baseline(s3, "statistics.json").items()
    assert name == names.BASELINE_PROBLEM
    assert f"s3://{MODELS}/b/statistics.json" in said
    assert reason in said


def test_a_baseline_that_is_not_there_is_named_too(s3: Any) -> None:
    assert "can't be read" in baseline(s3, "statistics.json")[names.BASELINE_PROBLEM]


@pytest.mark.parametrize(("body", "reason"), [(b"{", "is not JSON"), (b'["x"]', "holds no JSON object")])
def test_constraints_that_are_none_are_named_and_the_statistics_stay(s3: Any, body: bytes, reason: str) -> None:
    s3.put_object(Bucket=MODELS, Key="b/constraints.json", Body=body)
    found = baseline(s3, "statistics.json", statistics=STATISTICS)
    assert reason in found.pop(names.CONSTRAINTS_PROBLEM)
    assert found == STATISTICS
