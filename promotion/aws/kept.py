"""Resources retained by an earlier installation, found by the tags of its ledger table."""

from __future__ import annotations

from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.clients import ClientFor
from promotion.errors import Invalid

_KEY = {"pk": "HASH", "sk": "RANGE"}


def find(table: str, client: ClientFor) -> dict[str, str]:
    """Return names and ARNs of all retained resources, by the keys of `names.KEPT`; `stream` is the ledger's.

    A table that was restored from a backup has no tags: then only the ledger is retained, and the stack makes the rest.

    Raises:
        Invalid: the table doesn't exist, or can't be a ledger as it is; the message says what to do.
    """
    dynamodb = client("dynamodb")
    try:
        found = dynamodb.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise Invalid("advanced.ledger_table", f"there is no table {table} in this account and region.") from None
    keys = {key["AttributeName"]: key["KeyType"] for key in found["KeySchema"]}
    indexes = {index["IndexName"] for index in found.get("GlobalSecondaryIndexes", ())}
    if keys != _KEY or names.BOARD_INDEX not in indexes:
        raise Invalid("advanced.ledger_table", f"{table} is no ledger of this service.")
    stream = found.get("StreamSpecification")
    if (
        not stream
        or not stream.get("StreamEnabled")
        or stream.get("StreamViewType") not in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
    ):
        raise Invalid(
            "advanced.ledger_table",
            f"{table} has no stream of new images, and a restored table never has: aws dynamodb update-table --table-name "
            f"{table} --stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES",
        )
    tags = {
        tag["Key"]: tag["Value"]
        for page in dynamodb.get_paginator("list_tags_of_resource").paginate(ResourceArn=found["TableArn"])
        for tag in page.get("Tags", ())
    }
    others = {word: tags[tag] for word, tag in names.KEPT.items() if tag in tags}
    return {"ledger": table, "stream": found["LatestStreamArn"], **others}
