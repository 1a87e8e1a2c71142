"""Laws of the policy that hold for any person in any story."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promotion import names
from promotion.domain.people import Person
from promotion.errors import PromotionError, Refused
from promotion.workflows import decisions
from tests.rules.policy_people import registered_stage
from tests.rules.scenario import ANN, CHO, CONFIG, GIL, GROUP, Scenario, measured, registered

# Laws, for anybody in any story.
MOVES = st.sampled_from(
    [
        "approve",
        "reject",
        "glass",
        "expire",
        "again",
        "register",
        "run",
        "roll back",
        "revoke",
        "wait",
        "second approve",
    ]
)


def play(moves: list[str]) -> Scenario:
    """A story of random moves; what the rules refuse does not happen."""
    scenario = registered_stage()
    newest = 1
    for move in moves:
        pending = [
            (name, state.pending)
            for name, state in scenario.view.environments.items()
            if state.pending is not None and name in scenario.config.environment_names
        ]
        name, version = pending[-1] if pending else ("dev", newest)
        with contextlib.suppress(PromotionError):
            match move:
                case "approve":
                    scenario.decides(name, version)
                case "second approve":
                    scenario.decides(name, version, by=CHO)
                case "reject":
                    scenario.decides(name, version, "Rejected")
                case "glass":
                    scenario.decides(name, version, by=GIL)
                case "expire":
                    scenario.later(hours=80)
                    scenario.keeps_time(name)
                case "wait":
                    scenario.later(hours=40)
                case "again":
                    scenario.asks_again(name, version, ANN, "More data.")
                case "register":
                    newest += 1
                    scenario.registers(newest, evidence=registered(0.7))
                case "run":
                    live = [n for n, state in scenario.view.environments.items() if state.live is not None]
                    if live:
                        number = scenario.view.environment(live[-1]).live or 0
                        run = f"{live[-1]}-{number}-{len(scenario.events)}"
                        scenario.runs(live[-1], number, measured(0.7 if len(scenario.events) % 3 else 0.1, run_id=run))
                case "roll back":
                    scenario.rolls_back(name)
                case "revoke":
                    scenario.revokes(version)
    return scenario


PEOPLE = st.builds(
    Person,
    subject=st.sampled_from(["ann", "cho", "dee@example.com", "someone"]),
    name=st.just("Somebody"),
    email=st.sampled_from(["", "ann@example.com", "dee@example.com", "someone@example.com"]),
    groups=st.frozensets(
        st.sampled_from(["ml-dev", "ml-test", "ml-uat", "ml-prod", "ml-oncall", "ml-auditors", "other"]), max_size=4
    ),
)
# Half of them begin where something has climbed already.
STORIES = st.builds(
    lambda promote, moves: ["approve", "run"] * promote + moves, st.integers(0, 3), st.lists(MOVES, max_size=8)
)
LAWS = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@LAWS
@given(moves=STORIES, person=PEOPLE)
def test_the_page_offers_exactly_what_the_post_takes(moves: list[str], person: Person) -> None:
    scenario = play(moves)
    for version, state in scenario.view.versions.items():
        for name, request in state.requests.items():
            page = scenario.request(name, version, person)
            offers: list[tuple[bool, names.Verdict, bool]] = [
                (page["may_decide"], "Approved", False),
                (page["may_reject"], "Rejected", False),
            ]
            offers += [(True, "Approved", True)] if page["may_break_glass"] else []
            for offered, verdict, glass in offers:
                assert _is_taken(scenario, request.id, person, verdict, glass) == offered, (name, verdict, glass)


@LAWS
@given(moves=STORIES, person=PEOPLE)
def test_a_person_in_no_group_of_the_environment_decides_nothing(moves: list[str], person: Person) -> None:
    scenario = play(moves)
    for state in scenario.view.versions.values():
        for name, request in state.requests.items():
            if CONFIG.environment(name, GROUP).approver_group.id in person.groups:
                continue
            assert not _is_taken(scenario, request.id, person, "Rejected", False)
            assert not _is_taken(scenario, request.id, person, "Approved", False)
            if "ml-oncall" not in person.groups:
                assert not _is_taken(scenario, request.id, person, "Approved", True)


@LAWS
@given(moves=STORIES)
def test_nothing_is_live_that_was_not_let_in_through_every_environment_before(moves: list[str]) -> None:
    scenario = play(moves)
    order = list(CONFIG.environment_names)
    for name, environment in scenario.view.environments.items():
        if environment.live is None:
            continue
        version = scenario.view.version(environment.live)
        assert not version.revoked
        assert set(order[: order.index(name) + 1]) <= set(version.approvals)


@LAWS
@given(moves=STORIES)
def test_every_promotion_has_its_quorum_of_different_people_or_a_broken_glass(moves: list[str]) -> None:
    for event in play(moves).events:
        if event.kind == names.MODEL_PROMOTED and not event.data.get("broke_glass"):
            quorum = CONFIG.environment(event.environment or "", GROUP).quorum
            assert len(set(event.data["approved_by"])) >= quorum


def _is_taken(scenario: Scenario, asked: str, person: Person, verdict: names.Verdict, glass: bool) -> bool:
    """Return True if the POST would be accepted, tried on a copy of the ledger."""
    copy = Scenario(scenario.config, group=scenario.group)
    copy.now = scenario.now
    copy.ledger.items = dict(scenario.ledger.items)
    try:
        decisions.record_decision(asked, person, verdict, "Because.", context=copy.context, breaking_glass=glass)
    except Refused:
        assert copy.ledger.items == scenario.ledger.items, "a refusal writes nothing"
        return False
    return True
