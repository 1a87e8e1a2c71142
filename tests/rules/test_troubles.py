"""Lists of all groups without reading versions: problems of live versions, stopped requests, and last endings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.domain.people import SYSTEM
from promotion.ledger.events import NewEvent, OpenDifferences
from promotion.ledger.fold import refolded
from promotion.rendering.documents.board import board_document
from promotion.rendering.documents.board_filter import BoardFilter
from promotion.rendering.documents.overviews import model_document
from promotion.rendering.documents.troubles import troubles
from promotion.workflows import registry_changes
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import ANN, AUD, LINKS, Scenario, measured, page

FAILED = {"status": "Failed", "metrics": {}, "counts": {}, "latency_ms": {}, "throughput": {}, "pictures": ()}


def live() -> Scenario:
    scenario = scenarios.first_request()
    scenario.decides("dev", 1)
    scenario.later(hours=1)
    return scenario


def _said(html: str) -> str:
    return " ".join(Document(html).one("main").text.split())


def swept() -> Scenario:
    scenario = scenarios.expired()
    assert "expired<span" in page("board", scenario.board()), "before the sweep too"
    scenario.keeps_time("dev")
    return scenario


def words(scenario: Scenario, name: str = "dev") -> list[str]:
    return [each["word"] for each in troubles(scenario.view.environment(name))]


def cell(scenario: Scenario, name: str = "dev") -> dict[str, object]:
    row = scenario.board()["groups"][0]
    return next(each for each in row["environments"] if each["name"] == name)


def test_a_run_that_fails_marks_what_is_live_since_the_first_failure_until_one_completes() -> None:
    scenario = live()
    scenario.runs("dev", 1, measured(0.6, run_id="a", problem="no memory", **FAILED))
    first = scenario.now
    scenario.later(hours=1)
    scenario.runs("dev", 1, measured(0.6, run_id="b", problem="no disk", **FAILED))
    (trouble,) = troubles(scenario.view.environment("dev"))
    assert (trouble["word"], trouble["what"]) == ("run failed", "no disk.")
    assert scenario.view.environment("dev").failed_since == first
    assert "roll back" in trouble["way"]
    scenario.runs("dev", 1, measured(0.6, run_id="c"))
    assert words(scenario) == []


def test_a_run_of_another_version_marks_nothing() -> None:
    scenario = live()
    scenario.registers(2)
    scenario.decides("dev", 2)
    scenario.runs("dev", 1, measured(0.6, run_id="late", problem="no memory", **FAILED))
    assert words(scenario) == []


def test_another_version_that_goes_live_ends_the_trouble() -> None:
    scenario = live()
    scenario.runs("dev", 1, measured(0.6, run_id="a", problem="no memory", **FAILED))
    scenario.registers(2)
    scenario.decides("dev", 2)
    assert words(scenario) == []


def test_everything_wrong_is_told_the_most_serious_first_on_board_and_model_page() -> None:
    scenario = scenarios.in_trouble()
    assert words(scenario) == ["broken", "run failed", "endpoint failed", "drift"]
    for html in (page("board", scenario.board()), page("model", scenario.model())):
        said = _said(html)
        for each in troubles(scenario.view.environment("dev")):
            assert each["what"] in said
            assert each["way"] in said
    assert scenario.board(wanted="", show="trouble")["groups_found"] == 1


def test_differences_of_a_verification_mark_the_group_and_say_the_way_on() -> None:
    scenario = live()
    found = OpenDifferences(count=5, since=scenario.now, lines=("parameter /a: expected v1, found nothing",))
    states = list(scenario.view.environments.values())
    board: dict[str, Any] = board_document(
        states, AUD, scenario.config, links=LINKS, now=scenario.now, differences={scenario.group: found, "*": found},
        wanted=BoardFilter(show="trouble"),
    )  # fmt: skip
    assert board["groups"][0]["differences"] == 5
    said = _said(page("board", board, AUD))
    assert f"promotion verify {scenario.group}" in said
    assert "expected v1, found nothing. And 4 more." in said
    assert "Of no model here" in said
    versions = list(scenario.view.versions.values())
    model = model_document(
        scenario.group, versions, scenario.view.environments, scenario.events, AUD, scenario.config, csrf="", links=LINKS,
        now=scenario.now, differences=found,
    )  # fmt: skip
    assert "5 differences from the ledger" in _said(page("model", model, AUD))


@pytest.mark.parametrize(
    ("story", "name", "expected"),
    [
        (scenarios.rejected, "dev", ("Rejected", "Ann Adler")),
        (swept, "dev", ("Expired", "")),
    ],
)
def test_the_last_ending_and_its_person_are_shown_until_a_request_is_pending(
    story: Callable[[], Scenario], name: str, expected: tuple[str, str]
) -> None:
    scenario = story()
    last = cell(scenario, name)["closed"]
    assert isinstance(last, dict)
    assert (last["state"], last["by"]) == expected
    html = page("board", scenario.board())
    assert f'{expected[0].lower()}<span class="unseen"> for {name}' in html
    assert "ask again" in html
    assert scenario.board(show="closed")["groups_found"] == 1
    version = last["version"]
    scenario.asks_again(name, version, ANN, "Nothing, but look again.")
    assert cell(scenario, name)["closed"] is None
    assert scenario.board(show="closed")["groups_found"] == 0


def test_asking_again_is_no_way_on_where_the_package_cannot_be_approved() -> None:
    scenario = Scenario()
    scenario.registers(1, problem="There is no object at s3://nowhere/model.tar.gz.")
    scenario.later(hours=80)
    scenario.keeps_time("dev")
    last = cell(scenario)["closed"]
    assert isinstance(last, dict)
    assert (last["state"], last["again"]) == ("Expired", False)
    assert "ask again" not in page("board", scenario.board())
    removed = scenarios.rejected()
    assert "ask again" in page("board", removed.board())
    registry_changes.record_removed(removed.group, 1, context=removed.context)
    assert "ask again" not in page("board", removed.board())
    folded = refolded(removed.view.head, removed.events).environment("dev")
    assert folded.closed == removed.view.environment("dev").closed


def test_asking_again_is_no_way_on_where_nobody_knows_the_requester() -> None:
    scenario = Scenario()
    scenario.registers(1, requester=None)
    scenario.later(hours=80)
    pending = cell(scenario)["pending"]
    assert isinstance(pending, dict)
    assert (pending["expired"], pending["again"]) == (True, False)
    assert "ask again" not in page("board", scenario.board())
    scenario.keeps_time("dev")
    assert "ask again" not in page("board", scenario.board())
    # Where the requester may approve, nobody has to know them.
    first = replace(scenario.config.environments[0], requester_may_approve=True)
    scenario.config = replace(scenario.config, environments=(first, *scenario.config.environments[1:]))
    assert "ask again" in page("board", scenario.board())


def test_asking_again_is_no_way_on_for_a_revoked_version() -> None:
    scenario = scenarios.rejected()
    scenario.revokes(1)
    assert scenario.view.environment("dev").closed is not None
    assert "ask again" not in page("board", scenario.board())


def test_a_superseded_request_is_not_shown_beside_its_successor() -> None:
    scenario = scenarios.first_request()
    scenario.registers(2)
    assert scenario.view.environment("dev").closed is not None
    assert cell(scenario)["closed"] is None
    scenario.decides("dev", 2)
    assert scenario.view.environment("dev").closed is None


def test_a_package_that_cannot_be_approved_is_not_ready_and_comes_last() -> None:
    scenario = Scenario()
    scenario.registers(1, problem="There is no object at s3://nowhere/model.tar.gz.")
    other = replace(
        scenarios.first_request().view.environment("dev"),
        group="ready",
        pending_expires_at=scenario.now + timedelta(days=9),
    )
    board = scenario.board(ANN, other)
    assert [(asked["group"], asked["stopped"]) for asked in board["waiting"]] == [
        ("ready", ""),
        (scenario.group, "stopped, its artifact can’t be approved"),
    ]
    html = page("board", board)
    assert "v1 stopped<span" in html
    assert html.index("<b>ready v1</b>") < html.index(f"<b>{scenario.group} v1</b>")


def test_hashing_ends_and_a_deleted_package_stops_without_reading_the_version() -> None:
    scenario = Scenario()
    scenario.registers(1, hashing=True)
    assert scenario.view.environment("dev").pending_stop == "hashing"
    state = scenario.view.version(1)
    data = {"problem": "", "hashing": False, "containers": state.package.containers}
    scenario.happens(NewEvent(kind=names.ARTIFACT_HASHED, actor=SYSTEM, version=1, data=data))
    assert scenario.view.environment("dev").pending_stop == ""
    scenario.happens(NewEvent(kind=names.PACKAGE_REMOVED, actor=SYSTEM, version=1, data={}))
    assert scenario.board()["waiting"][0]["stopped"] == "stopped, it is no longer in the registry"


def test_a_version_rolled_back_in_the_environment_before_is_not_ready() -> None:
    scenario = Scenario()
    scenario.promotes(1, 0.7)
    scenario.promotes(2, 0.7)
    assert scenario.board()["waiting"][0]["stopped"] == ""
    scenario.rolls_back("dev")
    assert scenario.board()["waiting"][0]["stopped"] == "stopped, it was rolled back in dev"
