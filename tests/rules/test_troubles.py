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
from tests.rules import stories
from tests.rules.markup import Document
from tests.rules.stage import ANN, AUD, LINKS, Stage, measured, page

FAILED = {"status": "Failed", "metrics": {}, "counts": {}, "latency_ms": {}, "throughput": {}, "pictures": ()}


def live() -> Stage:
    stage = stories.first_request()
    stage.decides("dev", 1)
    stage.later(hours=1)
    return stage


def _said(html: str) -> str:
    return " ".join(Document(html).one("main").text.split())


def swept() -> Stage:
    stage = stories.expired()
    assert "expired<span" in page("board", stage.board()), "before the sweep too"
    stage.keeps_time("dev")
    return stage


def words(stage: Stage, name: str = "dev") -> list[str]:
    return [each["word"] for each in troubles(stage.view.environment(name))]


def cell(stage: Stage, name: str = "dev") -> dict[str, object]:
    row = stage.board()["groups"][0]
    return next(each for each in row["environments"] if each["name"] == name)


def test_a_run_that_fails_marks_what_is_live_since_the_first_failure_until_one_completes() -> None:
    stage = live()
    stage.runs("dev", 1, measured(0.6, run_id="a", problem="no memory", **FAILED))
    first = stage.now
    stage.later(hours=1)
    stage.runs("dev", 1, measured(0.6, run_id="b", problem="no disk", **FAILED))
    (trouble,) = troubles(stage.view.environment("dev"))
    assert (trouble["word"], trouble["what"]) == ("run failed", "no disk.")
    assert stage.view.environment("dev").failed_since == first
    assert "roll back" in trouble["way"]
    stage.runs("dev", 1, measured(0.6, run_id="c"))
    assert words(stage) == []


def test_a_run_of_another_version_marks_nothing() -> None:
    stage = live()
    stage.registers(2)
    stage.decides("dev", 2)
    stage.runs("dev", 1, measured(0.6, run_id="late", problem="no memory", **FAILED))
    assert words(stage) == []


def test_another_version_that_goes_live_ends_the_trouble() -> None:
    stage = live()
    stage.runs("dev", 1, measured(0.6, run_id="a", problem="no memory", **FAILED))
    stage.registers(2)
    stage.decides("dev", 2)
    assert words(stage) == []


def test_everything_wrong_is_told_the_most_serious_first_on_board_and_model_page() -> None:
    stage = stories.in_trouble()
    assert words(stage) == ["broken", "run failed", "endpoint failed", "drift"]
    for html in (page("board", stage.board()), page("model", stage.model())):
        said = _said(html)
        for each in troubles(stage.view.environment("dev")):
            assert each["what"] in said
            assert each["way"] in said
    assert stage.board(wanted="", show="trouble")["groups_found"] == 1


def test_differences_of_a_verification_mark_the_group_and_say_the_way_on() -> None:
    stage = live()
    found = OpenDifferences(count=5, since=stage.now, lines=("parameter /a: expected v1, found nothing",))
    states = list(stage.view.environments.values())
    board: dict[str, Any] = board_document(
        states, AUD, stage.config, links=LINKS, now=stage.now, differences={stage.group: found, "*": found},
        wanted=BoardFilter(show="trouble"),
    )  # fmt: skip
    assert board["groups"][0]["differences"] == 5
    said = _said(page("board", board, AUD))
    assert f"promotion verify {stage.group}" in said
    assert "expected v1, found nothing. And 4 more." in said
    assert "Of no model here" in said
    versions = list(stage.view.versions.values())
    model = model_document(
        stage.group, versions, stage.view.environments, stage.events, AUD, stage.config, csrf="", links=LINKS,
        now=stage.now, differences=found,
    )  # fmt: skip
    assert "5 differences from the ledger" in _said(page("model", model, AUD))


@pytest.mark.parametrize(
    ("story", "name", "expected"),
    [
        (stories.rejected, "dev", ("Rejected", "Ann Adler")),
        (swept, "dev", ("Expired", "")),
    ],
)
def test_the_last_ending_and_its_person_are_shown_until_a_request_is_pending(
    story: Callable[[], Stage], name: str, expected: tuple[str, str]
) -> None:
    stage = story()
    last = cell(stage, name)["closed"]
    assert isinstance(last, dict)
    assert (last["state"], last["by"]) == expected
    html = page("board", stage.board())
    assert f'{expected[0].lower()}<span class="unseen"> for {name}' in html
    assert "ask again" in html
    assert stage.board(show="closed")["groups_found"] == 1
    version = last["version"]
    stage.asks_again(name, version, ANN, "Nothing, but look again.")
    assert cell(stage, name)["closed"] is None
    assert stage.board(show="closed")["groups_found"] == 0


def test_asking_again_is_no_way_on_where_the_package_cannot_be_approved() -> None:
    stage = Stage()
    stage.registers(1, problem="There is no object at s3://nowhere/model.tar.gz.")
    stage.later(hours=80)
    stage.keeps_time("dev")
    last = cell(stage)["closed"]
    assert isinstance(last, dict)
    assert (last["state"], last["again"]) == ("Expired", False)
    assert "ask again" not in page("board", stage.board())
    removed = stories.rejected()
    assert "ask again" in page("board", removed.board())
    registry_changes.record_removed(removed.group, 1, world=removed.world)
    assert "ask again" not in page("board", removed.board())
    folded = refolded(removed.view.head, removed.events).environment("dev")
    assert folded.closed == removed.view.environment("dev").closed


def test_asking_again_is_no_way_on_where_nobody_knows_the_requester() -> None:
    stage = Stage()
    stage.registers(1, requester=None)
    stage.later(hours=80)
    pending = cell(stage)["pending"]
    assert isinstance(pending, dict)
    assert (pending["expired"], pending["again"]) == (True, False)
    assert "ask again" not in page("board", stage.board())
    stage.keeps_time("dev")
    assert "ask again" not in page("board", stage.board())
    # Where the requester may approve, nobody has to know them.
    first = replace(stage.config.environments[0], requester_may_approve=True)
    stage.config = replace(stage.config, environments=(first, *stage.config.environments[1:]))
    assert "ask again" in page("board", stage.board())


def test_asking_again_is_no_way_on_for_a_revoked_version() -> None:
    stage = stories.rejected()
    stage.revokes(1)
    assert stage.view.environment("dev").closed is not None
    assert "ask again" not in page("board", stage.board())


def test_a_superseded_request_is_not_shown_beside_its_successor() -> None:
    stage = stories.first_request()
    stage.registers(2)
    assert stage.view.environment("dev").closed is not None
    assert cell(stage)["closed"] is None
    stage.decides("dev", 2)
    assert stage.view.environment("dev").closed is None


def test_a_package_that_cannot_be_approved_is_not_ready_and_comes_last() -> None:
    stage = Stage()
    stage.registers(1, problem="There is no object at s3://nowhere/model.tar.gz.")
    other = replace(
        stories.first_request().view.environment("dev"), group="ready", pending_expires_at=stage.now + timedelta(days=9)
    )
    board = stage.board(ANN, other)
    assert [(asked["group"], asked["stopped"]) for asked in board["waiting"]] == [
        ("ready", ""),
        (stage.group, "stopped, its artifact can’t be approved"),
    ]
    html = page("board", board)
    assert "v1 stopped<span" in html
    assert html.index("<b>ready v1</b>") < html.index(f"<b>{stage.group} v1</b>")


def test_hashing_ends_and_a_deleted_package_stops_without_reading_the_version() -> None:
    stage = Stage()
    stage.registers(1, hashing=True)
    assert stage.view.environment("dev").pending_stop == "hashing"
    state = stage.view.version(1)
    data = {"problem": "", "hashing": False, "containers": state.package.containers}
    stage.happens(NewEvent(kind=names.ARTIFACT_HASHED, actor=SYSTEM, version=1, data=data))
    assert stage.view.environment("dev").pending_stop == ""
    stage.happens(NewEvent(kind=names.PACKAGE_REMOVED, actor=SYSTEM, version=1, data={}))
    assert stage.board()["waiting"][0]["stopped"] == "stopped, it is no longer in the registry"


def test_a_version_rolled_back_in_the_environment_before_is_not_ready() -> None:
    stage = Stage()
    stage.climbs(1, 0.7)
    stage.climbs(2, 0.7)
    assert stage.board()["waiting"][0]["stopped"] == ""
    stage.rolls_back("dev")
    assert stage.board()["waiting"][0]["stopped"] == "stopped, it was rolled back in dev"
