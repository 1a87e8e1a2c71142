"""The sessions that a logout token ends; a token is accepted once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion.aws.ended_sessions import KEPT, TRIES, EndedSessions
from promotion.errors import SignInFailed
from promotion.links.session import Session
from promotion.links.sessions import LONGEST_SESSION
from tests.adapters.conftest import PROJECTIONS, Aws
from tests.fakes import ANN, BEGINNING, BEN


@pytest.fixture
def ended(aws: Aws) -> EndedSessions:
    # The table's keys are those of every table: infra/storage.py.
    return EndedSessions(aws.dynamodb, PROJECTIONS)


def session(sid: str = "", made_at: datetime | None = BEGINNING) -> Session:
    return Session(id="x", person=ANN, expires_at=BEGINNING + timedelta(hours=8), made_at=made_at, sid=sid)


LATER = BEGINNING + timedelta(minutes=5)


def test_a_session_is_ended_by_its_own_name_alone(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="ann", sid="first", now=LATER)
    assert ended.has(session("first"))
    assert not ended.has(session("second"))


def test_a_person_is_signed_out_everywhere_where_no_session_is_named(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="ann", sid="", now=LATER)
    assert ended.has(session("first"))
    assert ended.has(session())
    assert not ended.has(replace(session("first"), person=BEN))


def test_a_session_without_a_name_ends_with_its_person(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="ann", sid="of another browser", now=LATER)
    assert ended.has(session())


def test_a_token_that_names_a_session_alone_ends_it(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="", sid="first", now=LATER)
    assert ended.has(session("first"))
    assert not ended.has(session())


def test_a_person_who_signs_in_again_is_signed_in(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="ann", sid="", now=LATER)
    assert ended.has(session(made_at=LATER))
    assert not ended.has(session(made_at=LATER + timedelta(seconds=1)))
    assert ended.has(session(made_at=None))


def test_a_token_is_taken_once_and_ends_nothing_the_second_time(ended: EndedSessions) -> None:
    ended.end(token_id="1", subject="ann", sid="", now=LATER)
    with pytest.raises(SignInFailed, match="before"):
        ended.end(token_id="1", subject="ben", sid="", now=LATER + timedelta(minutes=1))
    assert not ended.has(replace(session(), person=BEN))
    assert not ended.has(session(made_at=LATER + timedelta(seconds=30)))


def test_another_refusal_of_dynamodb_is_no_second_use(ended: EndedSessions, aws: Aws) -> None:
    with pytest.raises(ClientError):
        EndedSessions(aws.dynamodb, "no-table").end(token_id="1", subject="ann", sid="", now=LATER)


class Meeting:
    """A client whose first transactions meet another at an item."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self._left = client, times

    def transact_write_items(self, **given: Any) -> Any:
        if self._left:
            self._left -= 1
            reasons = [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}]
            said: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(said, "TransactWriteItems")
        return self._client.transact_write_items(**given)


def test_logouts_of_one_person_that_meet_all_end_their_sessions(ended: EndedSessions, aws: Aws) -> None:
    meeting: Any = Meeting(aws.dynamodb, TRIES - 1)
    EndedSessions(meeting, PROJECTIONS).end(token_id="1", subject="ann", sid="first", now=LATER)
    assert ended.has(session("first"))
    always: Any = Meeting(aws.dynamodb, TRIES)
    with pytest.raises(ClientError):
        EndedSessions(always, PROJECTIONS).end(token_id="2", subject="ann", sid="second", now=LATER)


def test_no_name_is_in_the_clear_and_nothing_outlives_a_session_for_long(ended: EndedSessions, aws: Aws) -> None:
    ended.end(token_id="token-1", subject="ann", sid="first", now=LATER)
    items: list[dict[str, Any]] = aws.dynamodb.scan(TableName=PROJECTIONS)["Items"]
    assert len(items) == 3
    for item in items:
        assert not any(word in str(item["pk"]) for word in ("ann", "first", "token-1"))
        assert int(item["expires_at"]["N"]) == int((LATER + KEPT).timestamp())
    assert KEPT > LONGEST_SESSION
