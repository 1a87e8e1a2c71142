"""The board's reads cost a page and what is open or in trouble, not what exists; no page cuts a group in two."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from promotion import names
from promotion.aws.ledger_table.board_index import MOST_KEYS, BoardIndex
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.aws.ledger_table.ledger_items import environment_item
from promotion.domain.model import EnvironmentState
from promotion.domain.people import SYSTEM
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import NewEvent, chained
from promotion.ledger.fold import evolve
from promotion.rendering.documents.board import GROUPS_ON_A_PAGE
from tests.adapters.conftest import LEDGER, Aws
from tests.fakes import GROUP, FakeService, as_client

ENVIRONMENTS = ("dev", "test", "prod")
HEAD = {"pk": {"S": f"GROUP#{GROUP}"}, "sk": {"S": "HEAD"}}


@pytest.fixture
def fake(aws: Aws) -> FakeService:
    fake = FakeService()
    fake.ledger = aws.ledger  # type: ignore[assignment]
    return fake


def put(aws: Aws, groups: list[str], environments: tuple[str, ...] = ENVIRONMENTS) -> None:
    states = [EnvironmentState(group=group, name=name, live=1) for group in groups for name in environments]
    for start in range(0, len(states), 25):
        requests = [{"PutRequest": {"Item": environment_item(state)}} for state in states[start : start + 25]]
        aws.dynamodb.batch_write_item(RequestItems={LEDGER: requests})


def empty(aws: Aws) -> None:
    for item in aws.dynamodb.scan(TableName=LEDGER)["Items"]:
        aws.dynamodb.delete_item(TableName=LEDGER, Key={"pk": item["pk"], "sk": item["sk"]})


def groups_of(page: BoardPage) -> list[str]:
    counted = Counter(state.group for state in page.states)
    assert set(counted.values()) <= {len(ENVIRONMENTS)}, "a page's border cuts a group in two"
    return list(counted)


NAMES = st.from_regex(r"[ab1](-{0,2}[abA1]){0,3}", fullmatch=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, unique=True, max_size=12), st.integers(1, 4), st.integers(1, 4))
@example(["a", "a-b", "a1", "a--b", "ab", "aB", "A", "1"], 2, 3)
@example(["a", "a-a", "b"], 1, 1)
def test_pages_forward_and_back_have_every_group_once_and_whole(
    aws: Aws, groups: list[str], size: int, expected: int
) -> None:
    empty(aws)
    put(aws, groups)
    index = aws.ledger.board
    pages = [index.page(groups=size, environments=expected)]
    while pages[-1].later:
        pages.append(index.page(groups=size, environments=expected, after=pages[-1].last))
    seen = [groups_of(page) for page in pages]
    assert list(itertools.chain(*seen)) == sorted(groups)
    assert [page.earlier for page in pages] == [number > 0 for number in range(len(pages))]
    back = [pages[-1]]
    while back[-1].earlier:
        back.append(index.page(groups=size, environments=expected, before=back[-1].first))
    assert [groups_of(page) for page in reversed(back)] == seen


def test_an_address_past_the_ends_shows_the_first_page(aws: Aws) -> None:
    put(aws, ["b", "c"])
    first = aws.ledger.board.page(groups=1, environments=3)
    assert (first.first, first.earlier, first.later) == ("b", False, True)
    assert aws.ledger.board.page(groups=1, environments=3, after="d") == first
    assert aws.ledger.board.page(groups=1, environments=3, before="a") == first
    empty(aws)
    assert aws.ledger.board.page(groups=1, environments=3) == BoardPage()


def calls_of_the_default_view(aws: Aws, groups: int) -> tuple[Counter[str], int]:
    """Return the calls of a board's default view, and the items that they answer."""
    empty(aws)
    put(aws, [f"group-{number:04d}" for number in range(groups)])
    client, calls, items = aws.client("dynamodb"), Counter[str](), 0

    def count(model: Any, parsed: dict[str, Any], **_: Any) -> None:
        nonlocal items
        calls[model.name] += 1
        items += len(parsed.get("Items", ())) + sum(map(len, parsed.get("Responses", {}).values()))

    client.meta.events.register("after-call.dynamodb", count)
    index = DynamoLedger(client, LEDGER).board
    index.page(groups=GROUPS_ON_A_PAGE, environments=len(ENVIRONMENTS))
    index.active(ENVIRONMENTS)
    return calls, items


def test_the_default_view_costs_the_same_at_fifty_groups_and_at_a_thousand(aws: Aws) -> None:
    few, many = calls_of_the_default_view(aws, 50), calls_of_the_default_view(aws, 1_000)
    assert few == ({"Query": 2}, 150)
    assert many == ({"Query": 2}, GROUPS_ON_A_PAGE * len(ENVIRONMENTS) + 1)


def test_a_group_whose_states_cannot_be_read_takes_its_place_on_a_page(aws: Aws) -> None:
    put(aws, ["a", "b", "c"])
    aws.dynamodb.put_item(
        TableName=LEDGER,
        Item={**environment_item(EnvironmentState(group="b", name="dev")), "state": {"S": "{"}},
    )
    # It can't be folded anew either.
    aws.dynamodb.put_item(TableName=LEDGER, Item={"pk": {"S": "GROUP#b"}, "sk": {"S": "HEAD"}, "state": {"S": "{"}})
    unreadable: list[str] = []
    page = aws.ledger.board.page(groups=2, environments=3, unreadable=unreadable)
    assert (page.first, page.last, page.later, unreadable) == ("a", "b", True, ["b"])
    assert [state.group for state in aws.ledger.board.page(groups=2, environments=3, after="b").states] == ["c"] * 3


# --- active groups


def happens(fake: FakeService, kind: str, **data: Any) -> None:
    view = fake.view()
    fact = NewEvent(kind=kind, actor=SYSTEM, version=1, environment="dev", data=data)
    fake.later(minutes=1)
    events = chained(view.head, [fact], time=fake.now, policy_digest="")
    for event in events:
        evolve(view, event)
    fake.ledger.append(view, events)


def test_a_group_is_active_while_a_request_is_open_or_a_live_version_has_a_problem(fake: FakeService, aws: Aws) -> None:
    def active() -> list[str]:
        found = aws.ledger.board.active_groups()
        assert found == [GROUP] * fake.view().is_active
        assert aws.ledger.stored_head(GROUP).differences(fake.view()) == ()
        return found

    assert active() == []
    fake.register(1)
    assert active() == [GROUP]
    fake.decide(1, "dev")
    assert active() == []
    happens(fake, names.DRIFT_DETECTED, drift={"length_psi": 0.4}, source="monitor")
    assert active() == [GROUP]
    happens(fake, names.DRIFT_ENDED, source="monitor")
    assert active() == []
    happens(fake, names.ENDPOINT_CHANGED, status=names.ENDPOINT_FAILED, endpoint="dev")
    assert active() == [GROUP]
    happens(fake, names.ENDPOINT_CHANGED, status=names.ENDPOINT_REMOVED)
    assert active() == []
    happens(fake, names.INTEGRITY_BROKEN, problem="model.tar.gz has another SHA-256 than was approved")
    assert active() == [GROUP]
    fake.register(2)
    fake.decide(2, "dev")
    assert active() == []


def test_states_of_active_groups_are_read_a_hundred_a_call(aws: Aws) -> None:
    groups = [f"group-{number:03d}" for number in range(MOST_KEYS)]
    put(aws, groups)
    unprocessed = 0

    class LeavesOut:
        """Answers half of what it is asked for, and says so."""

        def __getattr__(self, name: str) -> Any:
            return getattr(aws.dynamodb, name)

        def batch_get_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803
            nonlocal unprocessed
            keys = RequestItems[LEDGER]["Keys"]
            assert len(keys) <= MOST_KEYS
            left = keys[(len(keys) + 1) // 2 :]
            unprocessed += bool(left)
            answer = aws.dynamodb.batch_get_item(RequestItems={LEDGER: {"Keys": keys[: (len(keys) + 1) // 2]}})
            return answer | {"UnprocessedKeys": {LEDGER: {"Keys": left}} if left else {}}

    index = BoardIndex(as_client(LeavesOut()), LEDGER, aws.ledger.view)
    found = index.active(("dev", "test", "elsewhere"), also=groups)
    assert unprocessed
    assert sorted((state.group, state.name) for state in found) == [(g, n) for g in groups for n in ("dev", "test")]


def test_a_head_of_another_release_is_put_where_its_states_belong(fake: FakeService, aws: Aws) -> None:
    fake.register(1)
    aws.dynamodb.update_item(TableName=LEDGER, Key=HEAD, UpdateExpression="REMOVE board_pk, board_sk")
    assert aws.ledger.board.active_groups() == []
    [line] = [found.difference.line for found in fake.verify() if found.difference.what == "ledger"]
    assert line == f"ledger {GROUP} head, board_pk: expected OPEN, found nothing"
    assert aws.ledger.refold(GROUP) == 1
    assert aws.ledger.board.active_groups() == [GROUP]
    fake.decide(1, "dev")
    aws.dynamodb.update_item(
        TableName=LEDGER,
        Key=HEAD,
        UpdateExpression="SET board_pk = :pk, board_sk = :sk",
        ExpressionAttributeValues={":pk": {"S": "OPEN"}, ":sk": {"S": GROUP}},
    )
    [line] = [found.difference.line for found in fake.verify() if found.difference.what == "ledger"]
    assert line == f"ledger {GROUP} head, board_pk: expected nothing, found OPEN"
    assert aws.ledger.refold(GROUP) == 1
    assert aws.ledger.board.active_groups() == []
    assert aws.ledger.refold(GROUP) == 0
    fake.register(2)
    assert aws.ledger.board.active_groups() == [GROUP]


def test_a_group_that_nobody_knows_is_folded_to_nothing(aws: Aws) -> None:
    _ = aws.dynamodb
    assert aws.ledger.refold("unknown") == 0
