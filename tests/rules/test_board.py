"""The board at a thousand groups: filters, order, pages, and addresses that keep them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.domain.model import EnvironmentState
from promotion.domain.people import Actor, Requester
from promotion.rendering.documents.board import GROUPS_ON_A_PAGE, BoardFilter, board_document
from tests.rules import stories
from tests.rules.markup import Document
from tests.rules.stage import ANN, AUD, CONFIG, LINKS, Stage, page

NOW = Stage().now


def state(group: str, name: str = "dev", **more: Any) -> EnvironmentState:
    return EnvironmentState(group=group, name=name, **more)


def pending(group: str, *, hours: int, requester: str = "dee") -> EnvironmentState:
    return state(
        group,
        pending=1,
        pending_since=NOW - timedelta(hours=hours),
        pending_expires_at=NOW + timedelta(hours=9),
        pending_id=f"{group}:1:dev:1",
        pending_requester=Requester(
            actor=Actor(kind="requester", subject=requester, name=requester), declared_by="self"
        ),
    )


STATES = [
    pending("asks-long", hours=9, requester="Kim"),
    pending("asks-late", hours=1),
    state("live", "test", live=3, live_since=NOW - timedelta(hours=5), live_by=("Ann Adler",)),
    state("drifts", "prod", live=2, live_since=NOW - timedelta(hours=50), drift=True, drift_since=NOW),
    *[state(f"quiet-{number:03d}", live=1, live_since=NOW - timedelta(days=9)) for number in range(246)],
]


def board(**query: str) -> dict[str, Any]:
    return board_document(STATES, ANN, CONFIG, links=LINKS, now=NOW, wanted=BoardFilter.read(query, CONFIG))


def groups(**query: str) -> list[str]:
    return [row["group"] for row in board(**query)["groups"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"show": "waiting"}, ["asks-late", "asks-long"]),
        ({"show": "trouble"}, ["drifts"]),
        ({"q": "LIVE"}, ["live"]),
        ({"q": "ann adler"}, ["live"]),
        ({"owner": "kim"}, ["asks-long"]),
        ({"environment": "test"}, ["live"]),
        ({"environment": "test", "q": "drifts"}, []),
        ({"show": "waiting", "sort": "oldest"}, ["asks-long", "asks-late"]),
        ({"q": "asks", "sort": "newest"}, ["asks-late", "asks-long"]),
    ],
)
def test_the_filter_says_which_groups_are_shown_and_in_which_order(query: dict[str, str], found: list[str]) -> None:
    assert groups(**query) == found
    assert board(**query)["groups_found"] == len(found)
    assert board(**query)["groups_total"] == 250


def test_the_oldest_pending_request_comes_first_and_groups_without_one_last() -> None:
    assert groups(sort="oldest")[:2] == ["asks-long", "asks-late"]
    assert groups(sort="newest")[0] == "asks-late"


def test_pages_hold_every_group_once() -> None:
    seen = [group for number in ("1", "2", "3") for group in groups(page=number)]
    assert len(groups()) == GROUPS_ON_A_PAGE
    assert sorted(seen) == sorted({state.group for state in STATES})
    assert board(page="2")["links"]["next"] == "/?page=3"
    assert board(page="99")["page"] == 3, "a page after the last is the last"
    assert board(page="3")["links"]["next"] is None
    assert board()["links"]["previous"] is None


def test_pending_requests_of_every_page_are_listed() -> None:
    assert [asked["group"] for asked in board(page="3")["waiting"]] == ["asks-late", "asks-long"]


def test_one_environment_shows_one_column() -> None:
    assert board(environment="test")["environments"] == ["test"]
    assert [cell["name"] for cell in board(environment="test")["groups"][0]["environments"]] == ["test"]


def test_links_keep_the_filter_and_lead_to_its_json() -> None:
    found = board(q="a&b", sort="newest")
    assert found["links"]["json"] == "/?q=a%26b&sort=newest&format=json"
    html = page("board", stories.open_gate().board(AUD, wanted="<script>"), AUD)
    assert "<script>" not in html
    assert 'href="/?q=%3Cscript%3E&amp;format=json"' in html


def test_invalid_parameters_of_an_address_are_ignored() -> None:
    assert (
        BoardFilter.read({"show": "x", "sort": "y", "environment": "z", "page": "-1", "other": "1"}, CONFIG)
        == BoardFilter()
    )


@given(st.dictionaries(st.sampled_from(["q", "owner", "show", "sort", "environment", "page"]), st.text(max_size=80)))
def test_any_address_makes_a_board(query: dict[str, str]) -> None:
    document = stories.first_request().board(
        ANN, wanted=query.get("q", ""), **{k: v for k, v in query.items() if k != "q"}
    )
    Document(page("board", document))


def test_a_long_list_of_what_waits_is_cut_and_counted() -> None:
    states = [pending(f"waits-{number:03d}", hours=1) for number in range(150)]
    found: dict[str, Any] = dict(board_document(states, ANN, CONFIG, links=LINKS, now=NOW))
    assert (len(found["waiting"]), found["waiting_total"]) == (100, 150)
    assert "And 50 more requests, in the table below." in page("board", found)
