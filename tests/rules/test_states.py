"""Folding: the states stored beside the events are what the events come to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promotion import names
from promotion.domain.model import Head, registry_status
from promotion.errors import NotApproved, PromotionError
from promotion.ledger.fold import evolve, touched
from promotion.ledger.snapshot import GroupSnapshot
from tests.fakes import ANN, CHO, GROUP, FakeService


def folded(fake: FakeService) -> GroupSnapshot:
    view = GroupSnapshot(Head(group=GROUP))
    for event in fake.events():
        evolve(view, event)
    return view


def check_folding(fake: FakeService) -> None:
    view = folded(fake)
    assert view.versions == {state.version: state for state in fake.ledger.versions(GROUP)}
    assert view.environments == fake.view().environments


def test_folding_everything_anew_gives_what_is_stored() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    fake.roll_back("prod")
    fake.roll_back("prod", to=2)
    fake.register(3)
    fake.decide(3, "dev", verdict=names.REJECTED)
    fake.revoke(2)
    check_folding(fake)


@given(
    st.lists(
        st.tuples(st.sampled_from(["climb", "back", "forward", "revoke", "reject"]), st.integers(1, 4)), max_size=12
    )
)
def test_any_events_fold_to_the_stored_states(steps: list[tuple[str, int]]) -> None:
    fake, newest = FakeService(), 0
    for step, number in steps:
        try:
            match step:
                case "climb":
                    newest += 1
                    fake.promote(newest, to=("dev", "test", "prod", "prod")[number - 1])
                case "back":
                    fake.roll_back("dev")
                case "forward":
                    fake.roll_back("dev", to=number)
                case "revoke":
                    fake.revoke(number)
                case _:
                    newest += 1
                    fake.register(newest)
                    fake.decide(newest, "dev", ANN, names.REJECTED)
        except (PromotionError, NotApproved):
            continue
    check_folding(fake)


def test_at_most_one_version_is_approved_where_it_is_live() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    for name in ("dev", "test", "prod"):
        approved = [n for n, state in fake.view().versions.items() if state.statuses[name] == names.APPROVED]
        assert approved in ([], [2])
        assert fake.status(1, name) == names.SUPERSEDED


def test_the_registry_follows_the_first_environment() -> None:
    fake = FakeService()
    fake.register(1)
    said = [registry_status(fake.view().version(1), "dev")]
    fake.decide(1, "dev")
    said.append(registry_status(fake.view().version(1), "dev"))
    fake.measure(1, "dev")
    fake.decide(1, "test", verdict=names.REJECTED)
    said.append(registry_status(fake.view().version(1), "dev"))
    fake.promote(2, to="dev")
    fake.roll_back("dev")
    said.append(registry_status(fake.view().version(2), "dev"))
    fake.revoke(2)
    said.append(registry_status(fake.view().version(2), "dev"))
    assert said == [names.PENDING, names.APPROVED, names.APPROVED, names.APPROVED, names.REJECTED]


def test_a_rejection_in_the_first_environment_is_one_in_the_registry() -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", verdict=names.REJECTED)
    assert registry_status(fake.view().version(1), "dev") == names.REJECTED


def test_an_expiry_is_no_rejection() -> None:
    fake = FakeService()
    fake.register(1)
    fake.later(hours=73)
    from promotion.workflows import decisions

    decisions.keep_time(fake.view().environment("dev"), context=fake.context)
    assert registry_status(fake.view().version(1), "dev") == names.PENDING
    assert fake.status(1, "dev") == names.EXPIRED


def test_an_event_tells_which_versions_it_touches() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    assert touched(fake.events()[-1]) == [2, 1]
    fake.roll_back("prod")
    assert touched(fake.events()[-1]) == [1, 2]
    fake.revoke(1)
    assert touched(fake.events()[-1]) == [1]
    assert touched(fake.events()[0]) == []


def test_the_furthest_environment_is_kept_when_a_version_is_rolled_back_to_elsewhere() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2, to="dev")
    fake.roll_back("dev", to=1)
    assert fake.view().version(1).furthest == "prod"
    assert fake.view().version(2).furthest == "dev"


def test_votes_are_counted_on_the_board() -> None:
    fake = FakeService()
    fake.promote(1, to="test")
    fake.measure(1, "test")
    fake.decide(1, "prod", CHO)
    assert fake.view().environment("prod").pending_votes == 1
