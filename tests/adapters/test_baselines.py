"""The baseline that a run's drift is measured against: SageMaker's statistics with the constraints beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from promotion import names
from tests.adapters.conftest import MODELS, Aws
from tests.adapters.prepared import EVIDENCE, live_in_dev, run
from tests.fakes import GROUP

STATISTICS, CONSTRAINTS = {"features": [{"name": "amount"}]}, {"features": [{"name": "amount", "completeness": 1.0}]}


Baseline = Callable[..., Any]


@pytest.fixture
def baseline(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Baseline:
    """Return the baseline in a run's context, for a package with statistics of this name and files beside it."""

    def of_run(name: str, **files: Any) -> Any:
        aws.s3.create_bucket(Bucket=EVIDENCE)
        for file, document in files.items():
            aws.s3.put_object(Bucket=MODELS, Key=f"b/{file}.json", Body=json.dumps(document).encode())
        live_in_dev(aws, monkeypatch, baseline_uri=f"s3://{MODELS}/b/{name}")
        key = f"{GROUP}/dev/{run()['run_id']}/context/baseline.json"
        return json.loads(aws.s3.get_object(Bucket=EVIDENCE, Key=key)["Body"].read())

    return of_run


def test_constraints_beside_the_statistics_come_with_them(baseline: Baseline) -> None:
    found = baseline("statistics.json", statistics=STATISTICS, constraints=CONSTRAINTS)
    assert found == {**STATISTICS, "constraints": CONSTRAINTS}


def test_statistics_without_constraints_are_a_baseline(baseline: Baseline) -> None:
    assert baseline("statistics.json", statistics=STATISTICS) == STATISTICS


def test_a_profile_of_ours_has_no_constraints_beside_it(baseline: Baseline) -> None:
    profile = {"schema": 1, "columns": {}}
    assert baseline("baseline.json", baseline=profile, constraints=CONSTRAINTS) == profile


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[" * 5_000, "is not JSON"),
        (b'["x"]', "neither a profile"),
        (b"{}", "neither a profile"),
    ],
)
def test_a_baseline_that_is_none_is_named_in_its_place(aws: Aws, baseline: Baseline, body: bytes, reason: str) -> None:
    aws.s3.put_object(Bucket=MODELS, Key="b/statistics.json", Body=body)
    [(name, said)] = baseline("statistics.json").items()
    assert name == names.BASELINE_PROBLEM
    assert f"s3://{MODELS}/b/statistics.json" in said
    assert reason in said


def test_a_baseline_that_is_not_there_is_named_too(baseline: Baseline) -> None:
    assert "can't be read" in baseline("statistics.json")[names.BASELINE_PROBLEM]


@pytest.mark.parametrize(("body", "reason"), [(b"{", "is not JSON"), (b'["x"]', "holds no JSON object")])
def test_constraints_that_are_none_are_named_and_the_statistics_stay(
    aws: Aws, baseline: Baseline, body: bytes, reason: str
) -> None:
    aws.s3.put_object(Bucket=MODELS, Key="b/constraints.json", Body=body)
    found = baseline("statistics.json", statistics=STATISTICS)
    assert reason in found.pop(names.CONSTRAINTS_PROBLEM)
    assert found == STATISTICS
