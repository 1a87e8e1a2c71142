"""Anchors: heads of the ledger in a bucket with Object Lock, where they can't be deleted for a year.

An object's name, `heads/{group}/{sequence}-{hash}.json`, contains the whole anchor, so that one listing is enough to
compare a chain with a year of anchors. Object versions are listed, because a delete marker hides an object from a plain
listing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from promotion.domain.model import SCHEMA, Head
from promotion.ledger.verify import Anchor

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NAME = re.compile(r"heads/([^/]+)/(\d{10})-([0-9a-f]{64})\.json")


class AnchorBucket:
    """Read and write anchors. The bucket's default retention locks each object that is put there."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def known(self, group: str | None = None) -> dict[str, list[Anchor]]:
        """Return anchors by group, oldest first; of all groups unless one is named."""
        found: dict[str, dict[int, Anchor]] = {}
        for key in self._keys(f"heads/{group}/" if group else "heads/"):
            match = _NAME.fullmatch(key)
            if match:
                anchor = Anchor(name=key, sequence=int(match[2]), hash=match[3])
                found.setdefault(match[1], {})[anchor.sequence] = anchor
        return {name: [anchors[at] for at in sorted(anchors)] for name, anchors in found.items()}

    def keep(self, head: Head, now: datetime) -> str:
        """Anchor a head; return the anchor's name."""
        key = f"heads/{head.group}/{head.sequence:010d}-{head.hash}.json"
        document = {
            "schema": SCHEMA,
            "group": head.group,
            "sequence": head.sequence,
            "hash": head.hash,
            "signature": head.signature,
            "anchored_at": now.isoformat().replace("+00:00", "Z"),
        }
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=json.dumps(document, indent=2).encode(), ContentType="application/json"
        )
        return key

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            yield from (version["Key"] for version in page.get("Versions", ()))
