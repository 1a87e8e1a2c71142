"""Whatever a data scientist registers stands as a request, once, with what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from promotion.domain.model import VersionState
from tests.fakes import GROUP
from tests.faults.simulation import Simulation, simulation

# Names of four bytes a character.
WIDE = ["\U0001f600" * 110 + f"{number:010d}" for number in range(200)]
FULL = dict.fromkeys(WIDE, -1.2345678901234567e-300)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulation]:
    with simulation(tmp_path) as made:
        yield made


def registered(service: Simulation, **about: Any) -> VersionState:
    """The version that is recorded of a registration, after all its events and two sweeps."""
    from lambdas.shared.dependencies import ledger

    service.register(**about)
    service.settle()
    for _ in range(2):
        service.sweep()
    assert (service.undelivered, service.asynchronous) == ([], [])
    assert [kind for kind, *_ in service.story()].count(names.APPROVAL_REQUESTED) == 1
    with service.without_faults():
        return ledger().view(GROUP).version(1)


@pytest.mark.parametrize(
    "address", ["s3://Bad Bucket!/model.tar.gz", f"s3://{'b' * 300}/m.tar.gz", "s3://b:c/m.tar.gz"]
)
def test_an_address_that_is_no_buckets_is_a_problem_of_the_version(service: Simulation, address: str) -> None:
    assert "is no name of a bucket" in registered(service, ModelDataUrl=address).package.problem
    assert service.decide(1, "dev") == 403


def test_metrics_at_such_an_address_are_a_problem_of_the_evidence(service: Simulation) -> None:
    state = registered(service, measured="s3://Bad Bucket!/metrics.json")
    assert "is no name of a bucket" in state.requests["dev"].evidence.problem


def test_an_image_whose_repository_ecr_could_not_have_keeps_its_tag(service: Simulation) -> None:
    state = registered(service, Image="123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1")
    assert state.package.containers[0].image_can_move


def test_metrics_that_fill_an_item_of_the_ledger_are_cut_and_said_to_be(service: Simulation) -> None:
    state = registered(
        service,
        metrics={
            "metrics": {name: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10**15} for name in ["rougeL", *WIDE]},
            **dict.fromkeys(("latency_ms", "throughput", "drift"), FULL),
            "counts": dict.fromkeys(WIDE, 10**15),
            "engine": dict.fromkeys(WIDE, "\U0001f600" * 200),
        },
    )
    evidence = state.requests["dev"].evidence
    assert evidence.metrics["rougeL"].value == 0.5
    assert "more than is kept" in evidence.problem
    assert service.decide(1, "dev") == 303


def test_metrics_with_very_many_classes_are_read_in_the_functions_memory(service: Simulation) -> None:
    """Each class against each other one would be ten thousand million cells."""
    matrix = {f"{number}": {f"{number}": 1} for number in range(100_000)}
    state = registered(service, metrics={"metrics": {"accuracy": 0.5}, "confusion_matrix": matrix})
    found = state.requests["dev"].evidence.confusion
    assert found is not None
    assert (len(found.labels), found.left_out) == (10, 99_990)
