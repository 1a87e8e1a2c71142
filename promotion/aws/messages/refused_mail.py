"""Mail that SES refuses permanently: the address, the event of the refusal, and the reason."""

from __future__ import annotations

from collections.abc import Collection
from email.utils import parseaddr
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from promotion import names
from promotion.ledger.events import RefusedMail

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html: errors that a retry doesn't resolve.
_FOR_GOOD = frozenset({"BadRequestException", "MessageRejected"})


def is_for_good(error: ClientError, sender: str) -> bool:
    """Return True if SES will never accept this mail for its recipients; an unknown sender can still be verified."""
    said = error.response["Error"]
    return said["Code"] in _FOR_GOOD and parseaddr(sender)[1].casefold() not in said.get("Message", "").casefold()


class RefusedMails:
    """One item for each group and address, in the projector's table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, refused: RefusedMail) -> bool:
        """Store a refusal; return True if it is the first for this group and address."""
        item = {
            "pk": {"S": names.REFUSED_MAIL_KEY},
            "sk": {"S": f"{refused.group}#{refused.address}"},
            "state": {"S": msgspec.json.encode(refused).decode()},
        }
        return not self._client.put_item(TableName=self._table, Item=item, ReturnValues="ALL_OLD").get("Attributes")

    def remove(self, group: str, accepted: Collection[str]) -> None:
        """Delete the refusals of addresses for which SES accepts mail about a group again."""
        for each in self.read(group):
            if each.address in accepted:
                key = {"pk": {"S": names.REFUSED_MAIL_KEY}, "sk": {"S": f"{group}#{each.address}"}}
                self._client.delete_item(TableName=self._table, Key=key)

    def read(self, group: str | None = None) -> list[RefusedMail]:
        """Read the refusals of a group, or of all, by group and address."""
        within = {} if group is None else {":group": {"S": f"{group}#"}}
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :group)" if within else "pk = :pk",
            ExpressionAttributeValues={":pk": {"S": names.REFUSED_MAIL_KEY}, **within},
        )
        return [msgspec.json.decode(item["state"]["S"], type=RefusedMail) for page in pages for item in page["Items"]]
