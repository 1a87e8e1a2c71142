"""The ledger in DynamoDB: one append wins, a lost answer is recognised, and a decision costs the same after any history."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from promotion import names
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.domain.model import FOLD_VERSION, EnvironmentState
from promotion.domain.people import Actor
from promotion.errors import Conflict, PromotionError
from promotion.ledger.append import Context
from promotion.ledger.chain import read_chain
from promotion.ledger.events import NewEvent, chained, check_chain
from promotion.ledger.fold import evolve
from promotion.workflows import decisions, operations
from tests.adapters.conftest import LEDGER, Aws
from tests.fakes import ANN, BEGINNING, CONFIG, GROUP, FakeService, a_package, a_registration, as_client


@pytest.fixture
def fake(aws: Aws) -> FakeService:
    fake = FakeService()
    fake.ledger = aws.ledger  # type: ignore[assignment]
    return fake


def note(kind: str, by: str = "ann") -> NewEvent:
    return NewEvent(kind=kind, actor=Actor(kind="person", subject=by))


def test_appended_events_are_read_back_as_they_were_folded(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    fake.promote(2, to="test")
    head, events = read_chain(aws.ledger, GROUP)
    check_chain(events, head)
    assert [state.version for state in aws.ledger.versions(GROUP)] == [2, 1]
    assert {name: state.live for name, state in aws.ledger.view(GROUP).environments.items()} == {
        "dev": 2, "test": 2, "prod": 1,
    }  # fmt: skip
    assert fake.verifier.group(GROUP, parameters={})[0].difference.what != "ledger"


def test_of_fifty_parallel_appends_one_wins(aws: Aws) -> None:
    aws.ledger.view(GROUP)

    def append(number: int) -> str:
        view = aws.ledger.view(GROUP)
        events = chained(view.head, [note("Race", f"person-{number}")], time=BEGINNING, policy_digest="")
        all_have_read.wait()
        try:
            aws.ledger.append(view, events)
        except Conflict:
            return "conflict"
        return f"person-{number}"

    all_have_read = Barrier(50)
    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(append, range(50)))
    [event] = aws.ledger.events(GROUP)
    assert sorted(outcomes).count("conflict") == 49
    assert event.actor.subject in outcomes


def test_a_lost_answer_is_recognised_as_success(fake: FakeService, aws: Aws) -> None:
    fake.register(1)
    lost = LosesAnswers(aws.dynamodb)
    fake.ledger = DynamoLedger(as_client(lost), LEDGER)  # type: ignore[assignment]
    with pytest.raises(ReadTimeoutError):
        fake.decide(1, "dev")
    view, before = aws.ledger.view(GROUP), list(aws.ledger.events(GROUP))
    assert view.environment("dev").live == 1
    # The same append once more, its token forgotten: the condition fails, and what is stored is its own.
    old = msgspec.structs.replace(view.head, sequence=before[-3].sequence, hash=before[-3].hash)
    view.head = old
    aws.ledger.append(view, before[-2:])
    assert list(aws.ledger.events(GROUP)) == before


class LosesAnswers:
    """A client whose writes arrive and whose answers don't."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> None:
        self._client.transact_write_items(**request)
        raise ReadTimeoutError(endpoint_url="https://dynamodb")


def test_a_conflicting_append_writes_nothing(fake: FakeService, aws: Aws) -> None:
    fake.register(1)
    view = aws.ledger.view(GROUP)
    late = chained(view.head, [note("Late")], time=BEGINNING, policy_digest="")
    for event in late:
        evolve(view, event)
    fake.decide(1, "dev")
    before = list(aws.ledger.events(GROUP))
    with pytest.raises(Conflict):
        aws.ledger.append(view, late)
    assert list(aws.ledger.events(GROUP)) == before


def test_throttling_is_no_conflict(aws: Aws) -> None:
    class Throttled:
        def transact_write_items(self, **_: Any) -> None:
            reasons = [{"Code": "ThrottlingError"}, {"Code": "None"}]
            said: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(said, "TransactWriteItems")

    view = aws.ledger.view(GROUP)
    events = chained(view.head, [note("X")], time=BEGINNING, policy_digest="")
    with pytest.raises(ClientError):
        DynamoLedger(as_client(Throttled()), LEDGER).append(view, events)


def test_two_clicks_at_once_make_one_vote(fake: FakeService, aws: Aws) -> None:
    fake.register(1)
    asked = fake.asked(1, "dev")

    # boto3 lets threads share clients, not make them.
    clients = [aws.client("dynamodb") for _ in range(8)]

    def click(number: int) -> str:
        context = Context(ledger=DynamoLedger(clients[number], LEDGER), config=CONFIG, now=_now())
        try:
            decisions.record_decision(asked, ANN, names.APPROVED, "yes", context=context)
        except PromotionError as error:
            return type(error).__name__
        return "recorded"

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(click, range(8)))
    assert outcomes == ["AlreadyDecided"] * 7 + ["recorded"]
    assert [event.kind for event in aws.ledger.events(GROUP)].count(names.DECISION_RECORDED) == 1


def _now() -> Any:
    from datetime import UTC, datetime

    return BEGINNING.replace(microsecond=datetime.now(UTC).microsecond)


def test_a_decision_makes_as_many_calls_after_a_long_history(fake: FakeService, aws: Aws) -> None:
    class Counting:
        def __init__(self, client: Any) -> None:
            self.client, self.calls = client, 0

        def __getattr__(self, name: str) -> Any:
            self.calls += 1
            return getattr(self.client, name)

    counts = []
    for version in (1, 2):
        fake.register(version)
        counting = Counting(aws.dynamodb)
        fake.ledger = DynamoLedger(as_client(counting), LEDGER)  # type: ignore[assignment]
        fake.decide(version, "dev")
        counts.append(counting.calls)
        fake.ledger = aws.ledger  # type: ignore[assignment]
        for number in range(60):
            fake.measure(version, "dev", run=f"{version}-{number}")
    assert counts[1] - counts[0] in (0, 1), "one more, for the version that is replaced"


def test_groups_are_listed_by_name(fake: FakeService, aws: Aws) -> None:
    for group in ("c", "a", "b"):
        fake.register(1, group)
    assert [(state.group, state.name) for state in aws.ledger.environments()] == [
        ("a", "dev"),
        ("b", "dev"),
        ("c", "dev"),
    ]
    assert aws.ledger.groups() == ["a", "b", "c"]


def test_an_environment_that_left_the_configuration_is_still_read(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    assert set(aws.ledger.view(GROUP).environments) == {"dev", "test", "prod"}
    assert aws.ledger.view("unknown").environments == {}
    assert aws.ledger.view("unknown").environment("dev") == EnvironmentState(group="unknown", name="dev")


def test_an_item_far_from_the_limit_for_a_version_with_all_it_can_have(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    fake.promote(2)
    operations.adopt(a_package(9, "other"), "dev", Actor(kind="operator", subject="o"), "r", context=fake.context)
    items = aws.dynamodb.scan(TableName=LEDGER)["Items"]
    assert max(len(str(item)) for item in items) < 20_000
    decisions.register(a_package(3), a_registration(), context=fake.context)


def leave_by_another_release(aws: Aws, group: str, key: str, text: str) -> None:
    aws.dynamodb.update_item(
        TableName=LEDGER,
        Key={"pk": {"S": f"GROUP#{group}"}, "sk": {"S": key}},
        UpdateExpression="SET #state = :text",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":text": {"S": text}},
    )


def test_states_of_another_fold_are_folded_again_and_written_on_request(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    stored = aws.ledger.stored_states(GROUP)
    assert aws.ledger.refold(GROUP) == 0
    for name, text in stored[0].items():
        leave_by_another_release(
            aws, GROUP, f"ENV#{name}", text.replace(f'"fold":{FOLD_VERSION}', f'"fold":{FOLD_VERSION + 1}')
        )
    leave_by_another_release(aws, GROUP, "VERSION#0000000001", '{"package":"another form"}')
    assert aws.ledger.view(GROUP).environment("prod").live == 1
    assert [state.version for state in aws.ledger.versions(GROUP)] == [1]
    assert aws.ledger.refold(GROUP) == len(stored[0]) + 1
    assert aws.ledger.stored_states(GROUP) == stored


def test_a_row_of_the_board_that_cannot_be_read_is_folded_again(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    leave_by_another_release(aws, GROUP, "ENV#prod", '{"live_since":"yesterday"}')
    assert {state.name: state.live for state in aws.ledger.environments()} == {"dev": 1, "test": 1, "prod": 1}


def test_states_are_not_written_over_what_somebody_appends_meanwhile(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    leave_by_another_release(aws, GROUP, "VERSION#0000000001", "{}")

    class AppendsInBetween:
        def __getattr__(self, name: str) -> Any:
            return getattr(aws.dynamodb, name)

        def transact_write_items(self, **request: Any) -> None:
            fake.register(2)
            aws.dynamodb.transact_write_items(**request)

    with pytest.raises(Conflict):
        DynamoLedger(as_client(AppendsInBetween()), LEDGER).refold(GROUP)


def test_the_newest_events_are_read_from_the_end(fake: FakeService, aws: Aws) -> None:
    fake.promote(1)
    sequences = [event.sequence for event in aws.ledger.events(GROUP)]
    assert [event.sequence for event in aws.ledger.newest_events(GROUP, most=5)] == sequences[::-1][:5]
    assert [event.sequence for event in aws.ledger.newest_events(GROUP, most=3, before=6)] == [5, 4, 3]
    assert aws.ledger.newest_events(GROUP, most=3, before=1) == []
    assert len(aws.ledger.newest_events(GROUP, most=500)) == len(sequences)


def test_an_event_is_read_by_its_number(fake: FakeService, aws: Aws) -> None:
    fake.register(1)
    events = list(aws.ledger.events(GROUP))
    assert [aws.ledger.event(GROUP, event.sequence) for event in events] == events
    assert aws.ledger.event(GROUP, 99) is None


def test_open_requests_are_read_past_a_group_that_cannot_be_read(fake: FakeService, aws: Aws) -> None:
    for group in ("broken", GROUP):
        fake.register(1, group)
    for name in ("HEAD", "ENV#dev"):
        leave_by_another_release(aws, "broken", name, "[")
    unreadable: list[str] = []
    found = list(aws.ledger.open_environments(unreadable))
    assert ([(state.group, state.pending) for state in found], unreadable) == ([(GROUP, 1)], ["broken"])
    assert [state.group for state in aws.ledger.open_environments()] == [GROUP]
