"""Nobody is asked about what was registered before the service was installed, whatever tells of it; an operator may ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import time_machine
from moto.sagemaker.models import sagemaker_backends

from lambdas.handlers import sweep
from lambdas.shared.dependencies import ledger
from promotion import names
from tests.fakes import GROUP, OPERATOR
from tests.faults.simulation import BEGINNING, Simulation, simulation


def older(service: Simulation, by: timedelta) -> None:
    """A package that was registered before the service was there to be told."""
    service.register(tell=False)
    (package,) = sagemaker_backends["123456789012"]["us-east-1"].model_packages.values()
    package.creation_time -= by


@pytest.mark.parametrize(("older_by", "found"), [(timedelta(days=5), False), (timedelta(0), True)])
def test_the_sweep_registers_nothing_that_is_older_than_the_ledger(
    tmp_path: Path, older_by: timedelta, found: bool
) -> None:
    with simulation(tmp_path) as service:
        older(service, older_by)
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10), tick=True):
            service.sweep()
        assert bool(service.story()) is found
        assert bool(service.mails) is found


def test_a_package_that_waits_in_the_queue_is_read_once_after_a_sweep(tmp_path: Path) -> None:
    """Each sweep meanwhile adds a message for each that waits: read and hashed again, they would hold up whatever comes after."""
    with simulation(tmp_path) as service:
        service.register()
        waiting, again = service.asynchronous.copy(), list[tuple[str, dict[str, Any], int]]()
        for minutes in (10, 15, 20):
            service.asynchronous = [("sweep", {}, 0)]
            with time_machine.travel(BEGINNING + timedelta(minutes=minutes), tick=True):
                service.deliver_event()
            again += service.asynchronous
        assert [module for module, *_ in again] == ["on_model_registered"] * 3
        service.asynchronous = waiting
        service.settle()
        service.calls.clear()
        service.asynchronous = again
        service.settle()
        assert set(service.calls) == {"dynamodb:GetItem"}
        assert len(service.mails) == 1


@pytest.mark.parametrize(("older_by", "found"), [(timedelta(days=5), 0), (timedelta(0), 1)])
def test_the_sweep_sends_nothing_that_is_older_to_be_read(tmp_path: Path, older_by: timedelta, found: int) -> None:
    """The reader would refuse it, but only after a thousand older packages have been sent."""
    with simulation(tmp_path) as service:
        older(service, older_by)
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10), tick=True):
            assert sweep.handler({}, None)["registrations_found"] == found
        assert len(service.asynchronous) == found


@pytest.mark.parametrize("status", [names.PENDING, names.APPROVED, names.REJECTED])
def test_an_event_about_an_older_package_registers_nothing(
    tmp_path: Path, status: names.Verdict | Literal["PendingManualApproval"]
) -> None:
    with simulation(tmp_path) as service:
        # Minutes before the first deployment, and not a day.
        older(service, timedelta(minutes=5))
        service.flip(1, status)
        service.settle()
        assert service.story() == []
        assert service.mails == []


def test_an_operator_asks_about_an_older_package(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        older(service, timedelta(days=400))
        assert service.ask(1) == 200
        service.settle()
        kinds = [kind for kind, *_ in service.story()]
        assert kinds[1:] == [names.REGISTRATION_ASKED, names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
        with service.without_faults():
            (asked, *_), state = list(ledger().events(GROUP, after=1)), ledger().version(GROUP, 1)
        assert asked.actor.subject == OPERATOR.subject
        assert state is not None
        assert OPERATOR.label in state.requests["dev"].changed
        assert state.package.containers[0].sha256, "the service has hashed it itself"
        assert service.mails
        assert service.ask(1) == 409, "its request is open"
        assert service.differences() == []


def test_an_operator_who_repeats_what_the_queue_refused_is_asked_for_once(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        older(service, timedelta(days=400))
        service.fails_if = lambda name, given: name == "sqs:SendMessage"
        assert service.ask(1) == 500, "two tries, and the queue refuses both"
        service.fails_if = None
        assert service.asynchronous == []
        assert service.ask(1) == 200
        service.settle()
        kinds = [kind for kind, *_ in service.story()]
        assert kinds[1:] == [names.REGISTRATION_ASKED, names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
        assert service.differences() == []


def test_nobody_claims_that_an_operator_asked(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        older(service, timedelta(days=400))
        detail = {"ModelPackageArn": service.arn(1), "ModelPackageGroupName": GROUP}
        service.asynchronous.append(("on_model_registered", {"detail": detail, "asked": 1}, 0))
        service.settle()
        assert service.story() == []
