"""The board at a thousand groups: filters, order, pages, and addresses that keep them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion import names
from promotion.domain.model import EndpointState, EnvironmentState
from promotion.domain.people import Actor, Requester
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import OpenDifferences
from promotion.rendering.documents.board import GROUPS_ON_A_PAGE, board_document
from promotion.rendering.documents.board_filter import BoardFilter
from tests.rules import scenarios
from tests.rules.markup import Document
from tests.rules.scenario import ANN, AUD, CONFIG, LINKS, Scenario, page

NOW = Scenario().now


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
    # Not all groups are read for those that wait.
    assert board(**query)["groups_total"] == (None if "show" in query else 250)


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
    html = page("board", scenarios.open_gate().board(AUD, wanted="<script>"), AUD)
    assert "<script>" not in html
    assert 'href="/?q=%3Cscript%3E&amp;format=json"' in html


def test_invalid_parameters_of_an_address_are_ignored() -> None:
    assert (
        BoardFilter.read({"show": "x", "sort": "y", "environment": "z", "page": "-1", "other": "1"}, CONFIG)
        == BoardFilter()
    )


@given(
    st.dictionaries(
        st.sampled_from(["q", "owner", "show", "sort", "environment", "page", "after", "before"]), st.text(max_size=80)
    )
)
def test_any_address_makes_a_board(query: dict[str, str]) -> None:
    more: dict[str, Any] = {name: value for name, value in query.items() if name != "q"}
    document = scenarios.first_request().board(ANN, wanted=query.get("q", ""), **more)
    Document(page("board", document))


def test_a_long_list_of_what_waits_is_cut_and_counted() -> None:
    states = [pending(f"waits-{number:03d}", hours=1) for number in range(150)]
    found: dict[str, Any] = dict(board_document(states, ANN, CONFIG, links=LINKS, now=NOW))
    assert (len(found["waiting"]), found["waiting_total"]) == (100, 150)
    words = Document(page("board", found)).words
    assert "And 50 more requests, among the models that wait for you." in words
    troubled = [state(f"drifts-{number:03d}", live=1, drift=True, drift_since=NOW) for number in range(150)]
    found = dict(board_document(troubled, ANN, CONFIG, links=LINKS, now=NOW))
    assert (len(found["attention"]), found["attention_total"]) == (100, 150)
    words = Document(page("board", found)).words
    assert "And 50 more live versions, among the models in trouble." in words


# --- pages by name, and what is read of active groups only


def page_of(names: list[str], **borders: bool) -> BoardPage:
    states = tuple(found for found in STATES if found.group in names)
    return BoardPage(states=states, first=names[0], last=names[-1], **borders)


def by_name(shown: BoardPage, **query: str) -> dict[str, Any]:
    active = [found for found in STATES if found.is_active]
    wanted = BoardFilter.read(query, CONFIG)
    return board_document(active, ANN, CONFIG, links=LINKS, now=NOW, wanted=wanted, page=shown)


def test_a_page_by_name_leads_to_its_neighbours_and_counts_nothing() -> None:
    middle = page_of(["drifts", "live"], earlier=True, later=True)
    found = by_name(middle, after="asks-long")
    assert [row["group"] for row in found["groups"]] == ["drifts", "live"]
    assert found["links"]["previous"] == "/?before=drifts"
    assert found["links"]["next"] == "/?after=live"
    assert found["links"]["json"] == "/?after=asks-long&format=json"
    assert found["links"]["trouble"] == "/?show=trouble"
    assert [found[name] for name in ("groups_total", "groups_found", "page", "pages")] == [None] * 4
    assert [asked["group"] for asked in found["waiting"]] == ["asks-late", "asks-long"], "of any page"
    assert [cell["group"] for cell in found["attention"]] == ["drifts"]
    words = Document(page("board", found)).words
    assert "2 models on this page, in the order of their names." in words
    assert "Previous drifts to live Next" in words


def test_a_board_of_one_page_is_counted() -> None:
    found = by_name(page_of(["drifts", "live"]))
    assert [found[name] for name in ("groups_total", "groups_found", "page", "pages")] == [2, 2, 1, 1]
    assert (found["links"]["previous"], found["links"]["next"]) == (None, None)
    assert "2 models. What is live" in Document(page("board", found)).words


def test_a_page_of_groups_that_cannot_be_read_still_leads_on() -> None:
    shown = BoardPage(first="a", last="c", later=True)
    found = board_document([], ANN, CONFIG, links=LINKS, now=NOW, page=shown, unreadable=["a", "b", "c"])
    words = Document(page("board", dict(found))).words
    assert "Next" in words
    assert "No model yet" not in words


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"after": "a-b"}, BoardFilter(after="a-b")),
        ({"before": "a1"}, BoardFilter(before="a1")),
        ({"after": "a", "before": "z"}, BoardFilter(after="a")),
        ({"after": "a#b"}, BoardFilter()),
        ({"before": "-"}, BoardFilter()),
        ({"after": "a", "q": "x"}, BoardFilter(q="x")),
        ({"after": "a", "sort": "newest"}, BoardFilter(sort="newest")),
        ({"after": "a", "page": "2"}, BoardFilter(page=2)),
    ],
)
def test_a_page_begins_after_or_ends_before_a_group_without_a_filter_only(
    query: dict[str, str], shown: BoardFilter
) -> None:
    assert BoardFilter.read(query, CONFIG) == shown


TIMES = st.sampled_from([None, NOW - timedelta(hours=1)])
ANY_STATE = st.builds(
    state,
    st.sampled_from(["a", "a-b", "a1", "b"]),
    st.sampled_from([*CONFIG.environment_names, "gone"]),
    live=st.sampled_from([None, 1]),
    pending=st.sampled_from([None, 2]),
    pending_since=st.just(NOW),
    pending_expires_at=st.sampled_from([NOW - timedelta(hours=1), NOW + timedelta(hours=1)]),
    pending_id=st.just("a:2:dev:1"),
    pending_gates_open=st.booleans(),
    broken_since=TIMES,
    failed_since=TIMES,
    drift=st.booleans(),
    drift_since=TIMES,
    endpoint=st.builds(EndpointState, status=st.sampled_from(["", names.ENDPOINT_FAILED]), removed=st.booleans()),
)


@given(
    st.lists(ANY_STATE, max_size=8, unique_by=lambda found: (found.group, found.name)),
    st.sampled_from(["", "waiting", "trouble"]),
    st.sets(st.sampled_from(["a", "b", "*"])),
)
def test_active_groups_are_enough_to_know_what_waits_and_what_is_in_trouble(
    states: list[EnvironmentState], show: str, differing: set[str]
) -> None:
    differences = {group: OpenDifferences(count=1, since=NOW, lines=("x",)) for group in differing}
    # A group of which every environment has left the configuration has nothing to show.
    shown = {found.group for found in states if found.name in CONFIG.environment_names}
    states = [found for found in states if found.group in shown]
    wanted = BoardFilter.read({"show": show}, CONFIG)

    def told(given: list[EnvironmentState]) -> list[object]:
        more: dict[str, Any] = {"links": LINKS, "now": NOW, "wanted": wanted, "differences": differences}
        found = board_document(given, ANN, CONFIG, **more)
        rows = found["groups"] if show else ()
        return [found["waiting"], found["waiting_total"], found["attention"], found["attention_total"], rows]

    active = {found.group for found in states if found.is_active} | (differing if show == "trouble" else set())
    read = [found for found in states if found.group in active and found.name in CONFIG.environment_names]
    assert told(read) == told(states)
