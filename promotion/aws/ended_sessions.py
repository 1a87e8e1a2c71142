"""Sessions that the identity provider has ended, in a table of their own, until they would have expired anyway.

A session itself is stored only in its cookie: docs/decisions/009-sessions-live-in-cookies.md.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from promotion.errors import SignInFailed
from promotion.links.session import Session
from promotion.links.sessions import LONGEST_SESSION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, PutTypeDef, TransactWriteItemTypeDef

# Longer than a session lasts and a logout token is accepted, with clock skew.
KEPT = LONGEST_SESSION + timedelta(hours=2)
# A logout of all sessions sends one token for each session at the same time, so their writes conflict at the person's
# item.
TRIES = 6


class EndedSessions:
    """One item for each logout token, and one for each session or person that it named; names are stored as digests."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def end(self, *, token_id: str, subject: str, sid: str, now: datetime) -> None:
        """End the session `sid`, or every session of `subject` if no `sid` is given.

        A session whose ID token named no `sid` ends with any logout of its person.

        Raises:
            SignInFailed: the token was used before.
        """
        moment = int(now.timestamp())
        over = {"at": {"N": str(moment)}, "expires_at": {"N": str(moment + int(KEPT.total_seconds()))}}
        ended = [("sid", sid), ("unnamed", subject)] if sid else [("sub", subject)]
        writes: list[TransactWriteItemTypeDef] = [
            {"Put": {"TableName": self._table, "Item": {**_key(*each), **over}}} for each in ended if each[1]
        ]
        once: PutTypeDef = {
            "TableName": self._table,
            "Item": {**_key("jti", token_id), **over},
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        for left in reversed(range(TRIES)):
            try:
                self._client.transact_write_items(TransactItems=[{"Put": once}, *writes])
                return
            except ClientError as error:
                if _was_there(error):
                    raise SignInFailed("This logout token has been taken before.") from None
                if not left or not _met_another(error):
                    raise

    def has(self, session: Session) -> bool:
        """Return True if a session was ended after it had begun."""
        subject = session.person.subject
        named = [("sid", session.sid)] if session.sid else [("unnamed", subject)]
        return any(self._ended_after(session.made_at, *each) for each in (*named, ("sub", subject)))

    def _ended_after(self, begun: datetime | None, kind: str, name: str) -> bool:
        item = self._client.get_item(TableName=self._table, Key=_key(kind, name), ConsistentRead=True).get("Item")
        return item is not None and (begun is None or int(begun.timestamp()) <= int(item["at"]["N"]))


def _key(kind: str, name: str) -> dict[str, AttributeValueTypeDef]:
    return {"pk": {"S": f"{kind}#{hashlib.sha256(name.encode()).hexdigest()}"}, "sk": {"S": "ended"}}


def _was_there(error: ClientError) -> bool:
    """Return True if the item of the token itself, the first of the transaction, existed already."""
    reasons = error.response.get("CancellationReasons") or [{}]
    return reasons[0].get("Code") == "ConditionalCheckFailed"


def _met_another(error: ClientError) -> bool:
    """Return True if a concurrent transaction wrote one of the items, in which case nothing was written."""
    reasons = error.response.get("CancellationReasons") or ()
    return any(reason.get("Code") == "TransactionConflict" for reason in reasons)
