"""A function that AWS is about to stop reads no further: a job takes over."""

from __future__ import annotations

from types import SimpleNamespace

from lambdas.shared.dependencies import ledger
from promotion.domain.model import Package
from tests.fakes import GROUP
from tests.faults.fault import from_queue
from tests.faults.resources import function
from tests.faults.simulation import Simulation


def registered(service: Simulation, milliseconds: int) -> Package:
    """Register version 1 by a function with so much time left."""
    service.register()
    [(module, event, tries)] = service.asynchronous
    service.asynchronous.clear()
    left = SimpleNamespace(get_remaining_time_in_millis=lambda: milliseconds)
    function(module)(from_queue(event, tries), left)
    with service.without_faults():
        return ledger().view(GROUP).version(1).package


def test_an_artifact_that_is_not_read_in_time_is_hashed_by_a_job(service: Simulation) -> None:
    service.slow_jobs = True
    package = registered(service, milliseconds=1_000)
    assert (package.hashing, package.problem, package.containers[0].sha256) == (True, "", "")
    assert service.calls.count("sagemaker:CreateProcessingJob") == 1
    service.end_jobs()
    service.settle()
    assert service.decide(1, "dev") == 303


def test_an_artifact_that_is_read_in_time_needs_no_job(service: Simulation) -> None:
    package = registered(service, milliseconds=100_000)
    assert (package.hashing, package.problem, len(package.containers[0].sha256)) == (False, "", 64)
    assert service.calls.count("sagemaker:CreateProcessingJob") == 0
