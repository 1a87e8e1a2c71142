"""Storms on the functions as deployed: whatever dies on the way, approvers get the newest request's mail, once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from lambdas.shared.dependencies import ledger
from promotion import names
from tests.fakes import GROUP
from tests.faults.people import Killed
from tests.faults.resources import LATER, WAKE
from tests.faults.simulation import BEGINNING, Simulation, simulation

# What holds, wakes and releases mail: a call, and what tells it from others of its name.
CALLS = {
    "the storm is written": ("dynamodb:PutItem", "STORM#"),
    "the delayed queue is told": ("sqs:SendMessage", LATER),
    "the projector is woken": ("sqs:SendMessage", WAKE),
    "SES takes the mail": ("sesv2:SendEmail", ""),
}


def passes(service: Simulation) -> None:
    """The minutes pass in which mail settles; a function that died with a message gets it again."""
    for minutes in (2, 4, 8):
        with time_machine.travel(BEGINNING + timedelta(minutes=minutes), tick=True):
            service.deliver_later()


def dies(service: Simulation, call: str, about: str, *, after: bool) -> list[str]:
    """The process dies once at a call, before or after AWS has done it."""
    hit: list[str] = []

    def once(made: str, given: dict[str, Any]) -> bool:
        if not hit and made == call and about in repr(given):
            hit.append(call)
            raise Killed(call)
        return False

    if after:
        service.after = once
    else:
        service.fails_if = once
    return hit


def mail_of(service: Simulation, version: int) -> str:
    """The Message-ID of the mail about a version's request."""
    with service.without_faults():
        events = list(ledger().events(GROUP))
    [asked] = [event for event in events if (event.kind, event.version) == (names.APPROVAL_REQUESTED, version)]
    return f"<{asked.event_id}.0@example.com>"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("where", CALLS)
def test_a_storm_survives_a_process_that_dies(tmp_path: Path, where: str, after: bool) -> None:
    with simulation(tmp_path, settle="60s") as service:
        service.register(1)
        service.settle()
        assert service.mails == [mail_of(service, 1)], "the first is mailed at once"
        service.register(3)
        service.register(2)
        hit = dies(service, *CALLS[where], after=after)
        service.settle()
        passes(service)
        assert hit
        once = [mail_of(service, 1), mail_of(service, 3)]
        # The one case of a second mail: SES took it, and the process died before that was written.
        assert service.mails == [*once, *([once[1]] if after and where == "SES takes the mail" else [])]
        assert service.later == []
        assert service.differences() == []


def test_registrations_are_tried_again_from_their_queue(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        failing = iter([True, True])
        service.fails_if = lambda call, given: call == "s3:HeadObject" and next(failing, False)
        service.register()
        service.settle()
        assert [kind for kind, *_ in service.story()][1:] == [names.MODEL_REGISTERED, names.APPROVAL_REQUESTED]
        assert "sqs:ChangeMessageVisibility" in service.calls
        assert service.undelivered == []


def test_delayed_mail_that_cant_be_sent_is_tried_again_and_then_set_aside(tmp_path: Path) -> None:
    with simulation(tmp_path, settle="60s") as service:
        service.register(1)
        service.settle()
        service.register(2)
        service.settle()
        service.fails_if = lambda call, given: call == "sesv2:SendEmail"
        passes(service)
        assert service.calls.count("sesv2:SendEmail") > 2
        assert [json.loads(message.body)["target"] for message in service.dead] == [names.MAIL]
        service.fails_if = None
        with time_machine.travel(BEGINNING + timedelta(hours=1), tick=True):
            service.redrive()
        assert service.mails == [mail_of(service, 1), mail_of(service, 2)]
