"""Folding: the states stored beside the events are what the events come to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promotion import names
from promotion.domain.model import Head, registry_status
from promotion.errors import NotApproved, PromotionError
from promotion.ledger.fold import evolve, touched
from promotion.ledger.snapshot import GroupSnapshot
from tests.fakes import ANN, CHO, GROUP, House


def folded(house: House) -> GroupSnapshot:
    view = GroupSnapshot(Head(group=GROUP))
    for event in house.events():
        evolve(view, event)
    return view


def check_folding(house: House) -> None:
    view = folded(house)
    assert view.versions == {state.version: state for state in house.ledger.versions(GROUP)}
    assert view.environments == house.view().environments


def test_folding_everything_anew_gives_what_is_stored() -> None:
    house = House()
    house.climb(1)
    house.climb(2)
    house.roll_back("prod")
    house.roll_back("prod", to=2)
    house.register(3)
    house.decide(3, "dev", verdict=names.REJECTED)
    house.revoke(2)
    check_folding(house)


@given(
    st.lists(
        st.tuples(st.sampled_from(["climb", "back", "forward", "revoke", "reject"]), st.integers(1, 4)), max_size=12
    )
)
def test_any_events_fold_to_the_stored_states(steps: list[tuple[str, int]]) -> None:
    house, newest = House(), 0
    for step, number in steps:
        try:
            match step:
                case "climb":
                    newest += 1
                    house.climb(newest, to=("dev", "test", "prod", "prod")[number - 1])
                case "back":
                    house.roll_back("dev")
                case "forward":
                    house.roll_back("dev", to=number)
                case "revoke":
                    house.revoke(number)
                case _:
                    newest += 1
                    house.register(newest)
                    house.decide(newest, "dev", ANN, names.REJECTED)
        except (PromotionError, NotApproved):
            continue
    check_folding(house)


def test_at_most_one_version_is_approved_where_it_is_live() -> None:
    house = House()
    house.climb(1)
    house.climb(2)
    for name in ("dev", "test", "prod"):
        approved = [n for n, state in house.view().versions.items() if state.statuses[name] == names.APPROVED]
        assert approved in ([], [2])
        assert house.status(1, name) == names.SUPERSEDED


def test_the_registry_follows_the_first_environment() -> None:
    house = House()
    house.register(1)
    said = [registry_status(house.view().version(1), "dev")]
    house.decide(1, "dev")
    said.append(registry_status(house.view().version(1), "dev"))
    house.measure(1, "dev")
    house.decide(1, "test", verdict=names.REJECTED)
    said.append(registry_status(house.view().version(1), "dev"))
    house.climb(2, to="dev")
    house.roll_back("dev")
    said.append(registry_status(house.view().version(2), "dev"))
    house.revoke(2)
    said.append(registry_status(house.view().version(2), "dev"))
    assert said == [names.PENDING, names.APPROVED, names.APPROVED, names.APPROVED, names.REJECTED]


def test_a_rejection_in_the_first_environment_is_one_in_the_registry() -> None:
    house = House()
    house.register(1)
    house.decide(1, "dev", verdict=names.REJECTED)
    assert registry_status(house.view().version(1), "dev") == names.REJECTED


def test_an_expiry_is_no_rejection() -> None:
    house = House()
    house.register(1)
    house.later(hours=73)
    from promotion.workflows import decisions

    decisions.keep_time(house.view().environment("dev"), world=house.world)
    assert registry_status(house.view().version(1), "dev") == names.PENDING
    assert house.status(1, "dev") == names.EXPIRED


def test_an_event_tells_which_versions_it_touches() -> None:
    house = House()
    house.climb(1)
    house.climb(2)
    assert touched(house.events()[-1]) == [2, 1]
    house.roll_back("prod")
    assert touched(house.events()[-1]) == [1, 2]
    house.revoke(1)
    assert touched(house.events()[-1]) == [1]
    assert touched(house.events()[0]) == []


def test_the_furthest_environment_is_kept_when_a_version_is_rolled_back_to_elsewhere() -> None:
    house = House()
    house.climb(1)
    house.climb(2, to="dev")
    house.roll_back("dev", to=1)
    assert house.view().version(1).furthest == "prod"
    assert house.view().version(2).furthest == "dev"


def test_votes_are_counted_on_the_board() -> None:
    house = House()
    house.climb(1, to="test")
    house.measure(1, "test")
    house.decide(1, "prod", CHO)
    assert house.view().environment("prod").pending_votes == 1
