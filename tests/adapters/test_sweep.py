"""A sweep times the open requests whatever else fails, and fails at its end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import sweep
from promotion import names
from promotion.errors import PromotionError
from promotion.ledger.append import Receipt
from promotion.workflows.commands import Command, dispatch
from tests.fakes import BEGINNING, FakeService


class Swept:
    """A service in memory with one open request, and the registry and the recorder that a sweep calls."""

    def __init__(self) -> None:
        self.fake = FakeService()
        self.fake.register(1)
        # The first minutes of a day, in which all states are read.
        self.fake.now = (BEGINNING + timedelta(days=8)).replace(hour=0, minute=1)
        self.unlisted = self.undescribed = self.refusal = ""
        self.described = 0

    def get_paginator(self, operation: str) -> Swept:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        if self.unlisted:
            raise ClientError({"Error": {"Code": self.unlisted}}, "ListModelPackages")
        yield {"ModelPackageSummaryList": []}

    def describe_model_package(self, **_: str) -> dict[str, Any]:
        self.described += 1
        if self.undescribed:
            raise ClientError({"Error": {"Code": self.undescribed, "Message": "it does not exist"}}, "Describe")
        return {}

    def record(self, command: Command) -> Receipt:
        if self.refusal:
            raise PromotionError(self.refusal)
        return dispatch(command, self.fake.context)

    def sweep(self) -> dict[str, object]:
        return sweep.handler({}, None)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Swept:
    made = Swept()
    for name, value in (
        ("client", lambda service: made),
        ("config", lambda: made.fake.config),
        ("count", lambda *given: None),
        ("installed_at", lambda: BEGINNING),
        ("ledger", lambda: made.fake.ledger),
        ("now", lambda: made.fake.now),
        ("recorder", lambda: made),
    ):
        monkeypatch.setattr(sweep, name, value)
    return made


def test_an_overdue_request_expires(swept: Swept) -> None:
    assert swept.sweep() == {"registrations_found": 0, "requests_timed": 1}
    assert swept.fake.kinds()[-1] == names.REQUEST_EXPIRED


def test_a_registry_that_cant_be_listed_keeps_no_request_from_expiring(swept: Swept) -> None:
    swept.unlisted = "AccessDeniedException"
    with pytest.raises(ClientError, match="ListModelPackages"):
        swept.sweep()
    assert swept.fake.kinds()[-1] == names.REQUEST_EXPIRED


def test_a_request_whose_time_is_refused_is_timed_by_the_next_sweep(swept: Swept) -> None:
    swept.refusal = "the ledger says no."
    assert swept.sweep()["requests_timed"] == 0
    swept.refusal = ""
    assert swept.sweep()["requests_timed"] == 1


def test_a_package_that_is_gone_is_recorded_as_removed_and_not_looked_for_again(swept: Swept) -> None:
    swept.fake.now = BEGINNING.replace(hour=0, minute=1) + timedelta(days=1)
    swept.undescribed = "ValidationException"
    swept.sweep()
    assert swept.fake.kinds()[-1] == names.PACKAGE_REMOVED
    events = len(swept.fake.events())
    swept.sweep()
    assert (len(swept.fake.events()), swept.described) == (events, 1)
