"""Going back, forward and adopting beside what is pending, or was left as bad: what the walk over the lifecycle found."""

from __future__ import annotations

import pytest

from promotion import names
from promotion.errors import Refused
from promotion.workflows import decisions, operations
from tests.fakes import BEN, OPERATOR, FakeService, a_package


@pytest.fixture
def fake() -> FakeService:
    return FakeService()


def test_a_version_that_was_revoked_is_not_adopted(fake: FakeService) -> None:
    fake.register(1)
    fake.revoke(1)
    with pytest.raises(Refused, match="was revoked"):
        operations.adopt(a_package(1), "dev", OPERATOR, "It served before.", context=fake.context)


def test_a_revocation_does_not_fall_back_to_what_was_left_as_bad_and_asked_for_again(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    fake.roll_back("dev")
    decisions.ask_again(fake.asked(2, "dev"), BEN, "It is mended.", context=fake.context)
    fake.decide(2, "dev", verdict=names.REJECTED)
    fake.promote(3, to="dev")
    fake.revoke(1)
    fake.revoke(3)
    assert fake.live("dev") is None


def test_going_forward_closes_the_request_of_an_older_version(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.promote(3, to="dev")
    fake.roll_back("dev")
    fake.register(2)
    assert fake.view().environment("dev").pending == 2
    fake.roll_back("dev", to=3)
    assert (fake.view().environment("dev").pending, fake.status(2, "dev")) == (None, names.SUPERSEDED)


def test_a_version_that_was_live_until_a_newer_one_is_not_asked_again(fake: FakeService) -> None:
    for version in (1, 2):
        fake.promote(version, to="dev")
    fake.roll_back("dev")
    decisions.ask_again(fake.asked(2, "dev"), BEN, "It is mended.", context=fake.context)
    fake.decide(2, "dev", verdict=names.REJECTED)
    fake.roll_back("dev", to=2)
    fake.promote(3, to="dev")
    with pytest.raises(Refused, match="it comes back by rolling back") as refused:
        decisions.ask_again(fake.asked(2, "dev"), BEN, "Once more.", context=fake.context)
    assert refused.value.code == "was_live"


def test_going_back_to_a_version_that_asks_again_closes_its_request(fake: FakeService) -> None:
    fake.promote(1, to="dev")
    fake.promote(2, to="dev")
    fake.roll_back("dev")
    decisions.ask_again(fake.asked(2, "dev"), BEN, "It is mended.", context=fake.context)
    fake.roll_back("dev", to=2)
    assert (fake.live("dev"), fake.view().environment("dev").pending) == (2, None)
