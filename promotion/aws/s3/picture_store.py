"""The pictures of inference runs, in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from promotion.aws.s3.artifacts import is_transient
from promotion.client.artifact import split_uri
from promotion.rendering.documents.pictures import LARGEST_PICTURE_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def read_picture(s3: S3Client, uri: str) -> bytes | None:
    """Return a picture's bytes; None if it doesn't exist, can't be read, or is too large to show.

    Raises:
        ClientError: S3 is throttled or unavailable.
    """
    bucket, key = split_uri(uri, "pictures")
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # The writer of a picture chooses its name, storage class and encryption; none of them may stop a page or a
        # mail.
        if is_transient(error):
            raise
        return None
    body: bytes | None = answer["Body"].read() if answer["ContentLength"] <= LARGEST_PICTURE_BYTES else None
    return body
