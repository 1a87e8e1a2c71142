"""Between a decision and its write to Parameter Store no page calls the version live."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial

import pytest

from promotion import names
from promotion.domain.model import EnvironmentState
from promotion.rendering.documents.being_written import JUST_CHANGED, MOST_ASKED
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import ANN, CHO, GROUP, Scenario, page

THEN_LIVE = "being written to Parameter Store, then"


def words(name: str, document: dict[str, object]) -> str:
    return Document(page(name, document)).words


def before_its_history(said: str) -> str:
    """The history tells what the ledger recorded."""
    return said.partition("History")[0]


def test_the_page_of_a_request_says_live_only_once_it_is_written() -> None:
    scenario = scenarios.approved()
    applying = words("request", scenario.request("test", 2, applied=scenarios.APPLYING))
    assert "Version 2 is being written to Parameter Store, then it is live in test." in applying
    assert "Parameter Store: waiting" in applying
    assert "Version 2 is live in test" not in applying
    assert not re.search(r"Live now|is what is live", applying)
    applied = words("request", scenario.request("test", 2, applied=scenarios.APPLIED))
    assert "Version 2 is live in test." in applied
    assert THEN_LIVE not in applied


def test_the_approver_of_the_last_environment_is_told_since_when_pipelines_use_it() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.7, to="prod")
    for person in (ANN, CHO):
        scenario.decides("prod", 1, by=person)
    applying = scenario.request("prod", 1, applied=scenarios.APPLYING)
    assert applying["yours"]["text"] == "Pipelines in prod use it as soon as it is live."
    assert "from their next run on" in scenario.request("prod", 1, applied=scenarios.APPLIED)["yours"]["text"]


def test_an_earlier_approval_waits_for_the_rollback_that_made_it_live_again() -> None:
    scenario = scenarios.approved()
    written = {**scenarios.APPLIED, names.PARAMETERS: scenario.view.head.sequence}
    scenario.rolls_back("test")
    document = scenario.request("test", 1, applied=written)
    assert document["applied"][names.PARAMETERS], "its own decision was written long ago"
    assert "Version 1 is being written to Parameter Store" in document["outcome"]["text"]


@pytest.mark.parametrize("name", ["model", "version"])
def test_the_pages_of_a_model_and_a_version_say_live_only_once_it_is_written(name: str) -> None:
    scenario = scenarios.approved()

    def said(applied: dict[str, int] | None) -> str:
        document = scenario.model(applied=applied) if name == "model" else scenario.version(2, applied=applied)
        return before_its_history(words(name, document))

    assert THEN_LIVE in said(scenarios.APPLYING)
    assert "v2 live in test" not in said(scenarios.APPLYING)
    assert "live in dev" in said(
        {**scenarios.APPLIED, names.PARAMETERS: scenario.view.environment("dev").live_sequence}
    )
    for known in (scenarios.APPLIED, None):
        assert THEN_LIVE not in said(known)
        assert "live in dev and test" in said(known)


def test_the_board_asks_only_for_groups_that_changed_just_now() -> None:
    scenario = scenarios.approved()
    asked: list[str] = []

    def written(groups: list[str]) -> dict[str, int]:
        asked.extend(groups)
        return dict.fromkeys(groups, 0)

    document = scenario.board(written=written)
    assert asked == [GROUP]
    assert {cell["name"]: cell["written"] for cell in document["groups"][0]["environments"]}["test"] is False
    assert THEN_LIVE in words("board", document)
    asked.clear()
    scenario.now += JUST_CHANGED
    assert THEN_LIVE not in words("board", scenario.board(written=written))
    assert asked == []


def test_of_many_groups_that_changed_the_newest_are_asked_for() -> None:
    scenario = scenarios.approved()
    asked: list[str] = []
    others = [
        EnvironmentState(
            group=f"g-{number:02d}", name="dev", live=1, live_since=scenario.now - timedelta(seconds=number)
        )
        for number in range(MOST_ASKED + 5)
    ]

    def written(groups: list[str]) -> dict[str, int]:
        asked.extend(groups)
        return {}

    scenario.board(ANN, *others, written=written)
    assert asked == [f"g-{number:02d}" for number in range(MOST_ASKED)]


def test_a_filtered_board_asks_for_the_groups_it_shows() -> None:
    scenario = scenarios.approved()
    others = [
        EnvironmentState(group=f"g-{number:02d}", name="dev", live=1, live_since=scenario.now)
        for number in range(MOST_ASKED)
    ]
    asked: list[str] = []

    def written(groups: list[str]) -> dict[str, int]:
        asked.extend(groups)
        return dict.fromkeys(groups, 0)

    document = scenario.board(ANN, *others, wanted=GROUP, written=written)
    assert asked == [GROUP]
    assert THEN_LIVE in words("board", document)


def test_a_version_with_a_problem_is_as_written_in_the_list_as_in_its_cell() -> None:
    def cursors(sequence: int, groups: list[str]) -> dict[str, int]:
        return dict.fromkeys(groups, sequence)

    scenario = scenarios.approved()
    troubled = EnvironmentState(
        group="g-01", name="dev", live=1, live_since=scenario.now, live_sequence=3, broken_since=scenario.now
    )
    for reached in (2, 3):
        document = scenario.board(ANN, troubled, written=partial(cursors, reached))
        [row] = [row for row in document["groups"] if row["group"] == "g-01"]
        [listed] = document["attention"]
        assert (listed["group"], listed["name"]) == ("g-01", row["environments"][0]["name"])
        assert listed["written"] is row["environments"][0]["written"] is (reached == 3)


def test_a_board_whose_cursors_are_unknown_shows_what_the_ledger_says() -> None:
    scenario = scenarios.approved()
    assert THEN_LIVE not in words("board", scenario.board(written=lambda groups: {}))
    assert THEN_LIVE not in words("board", scenario.board())


def test_a_request_that_waits_names_no_version_live_that_is_not_written() -> None:
    scenario = scenarios.open_gate()
    scenario.registers(3)
    scenario.decides("dev", 3)
    scenario.registers(4)
    scenario.later(minutes=1)
    told = words("board", scenario.board(written=lambda groups: dict.fromkeys(groups, 0)))
    assert "v3 is live" not in told
    assert "v3 is live" in words("board", scenario.board())


def test_a_revocation_that_is_not_written_yet_says_so() -> None:
    scenario = scenarios.first_request()
    scenario.decides("dev", 1)
    scenario.later(minutes=1)
    scenario.revokes(1)
    scenario.now += timedelta(seconds=5)
    for name, document in (
        ("model", scenario.model(applied=scenarios.APPLYING)),
        ("board", scenario.board(written=lambda groups: dict.fromkeys(groups, 0))),
    ):
        assert "revoked being written to Parameter Store" in re.sub(r"\s+", " ", words(name, document))
