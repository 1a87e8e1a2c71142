"""Checkpoints of verifications: the newest of each group in the evidence bucket, its digest in the anchors' bucket.

The digest is part of an object's name, `checkpoints/{group}/{sequence}-{digest}.json`, and Object Lock lets nobody
delete the object. A checkpoint that was edited later has a digest without such an object.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from promotion import names
from promotion.ledger.checkpoint import Checkpoint, digest_of, read_checkpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("NoSuchKey", "404", "NotFound")


class Checkpoints(Protocol):
    """The store of checkpoints."""

    def read(self, group: str) -> Checkpoint | None:
        """Return the newest checkpoint of a group; None if there is none to continue from."""

    def keep(self, checkpoint: Checkpoint) -> None:
        """Store a checkpoint, replacing the previous one."""


class CheckpointBuckets:
    """Checkpoints in S3."""

    def __init__(self, client: S3Client, evidence: str, anchors: str) -> None:
        self._client = client
        self._evidence = evidence
        self._anchors = anchors

    def read(self, group: str) -> Checkpoint | None:
        """Return the newest checkpoint of a group, if its digest is among the anchors and this release can read it."""
        try:
            text = bytes(self._client.get_object(Bucket=self._evidence, Key=_key(group))["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        found = read_checkpoint(text, group)
        if found is None:
            return None
        name = _name(found, text)
        listed = self._client.list_object_versions(Bucket=self._anchors, Prefix=name).get("Versions", ())
        return found if any(version["Key"] == name for version in listed) else None

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, then the object that names its digest; between the two writes no checkpoint is valid."""
        text = checkpoint.text()
        self._client.put_object(
            Bucket=self._evidence, Key=_key(checkpoint.group), Body=text, ContentType="application/json"
        )
        told = {"schema": checkpoint.schema, "group": checkpoint.group, "sequence": checkpoint.sequence}
        self._client.put_object(
            Bucket=self._anchors,
            Key=_name(checkpoint, text),
            Body=json.dumps({**told, "hash": checkpoint.hash, "sha256": digest_of(text)}, indent=2).encode(),
            ContentType="application/json",
        )


def _key(group: str) -> str:
    return f"{names.CHECKPOINTS}/{group}.json"


def _name(checkpoint: Checkpoint, text: bytes) -> str:
    return f"{names.CHECKPOINTS}/{checkpoint.group}/{checkpoint.sequence:010d}-{digest_of(text)}.json"
