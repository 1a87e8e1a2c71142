"""Going back, forward and adopting beside what is pending, or was left as bad: what the walk over the lifecycle found."""

from __future__ import annotations

import pytest

from promotion import names
from promotion.errors import Refused
from promotion.workflows import decisions, operations
from tests.fakes import BEN, OPERATOR, House, a_package


@pytest.fixture
def house() -> House:
    return House()


def test_a_version_that_was_revoked_is_not_adopted(house: House) -> None:
    house.register(1)
    house.revoke(1)
    with pytest.raises(Refused, match="was revoked"):
        operations.adopt(a_package(1), "dev", OPERATOR, "It served before.", world=house.world)


def test_a_revocation_does_not_fall_back_to_what_was_left_as_bad_and_asked_for_again(house: House) -> None:
    house.climb(1, to="dev")
    house.climb(2, to="dev")
    house.roll_back("dev")
    decisions.ask_again(house.asked(2, "dev"), BEN, "It is mended.", world=house.world)
    house.decide(2, "dev", verdict=names.REJECTED)
    house.climb(3, to="dev")
    house.revoke(1)
    house.revoke(3)
    assert house.live("dev") is None


def test_going_forward_closes_the_request_of_an_older_version(house: House) -> None:
    house.climb(1, to="dev")
    house.climb(3, to="dev")
    house.roll_back("dev")
    house.register(2)
    assert house.view().environment("dev").pending == 2
    house.roll_back("dev", to=3)
    assert (house.view().environment("dev").pending, house.status(2, "dev")) == (None, names.SUPERSEDED)


def test_going_back_to_a_version_that_asks_again_closes_its_request(house: House) -> None:
    house.climb(1, to="dev")
    house.climb(2, to="dev")
    house.roll_back("dev")
    decisions.ask_again(house.asked(2, "dev"), BEN, "It is mended.", world=house.world)
    house.roll_back("dev", to=2)
    assert (house.live("dev"), house.view().environment("dev").pending) == (2, None)
