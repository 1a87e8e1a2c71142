"""The live record: the signed document in Parameter Store with the version approved for an environment.

Signed by ECDSA on P-256 with SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of all fields but `signature`, so
that the public key is enough to verify it offline. Standard library only: a pipeline imports this with nothing installed.

A reader accepts the schemas before and after its own: fields that it doesn't know stay in the record, and are covered by the
signature. A record that needs a new feature to be read correctly names the feature in `must_understand`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from promotion.errors import IntegrityError, NotApproved
from promotion.formatting import one_line

if TYPE_CHECKING:
    from promotion.client.artifact import Manifest

SCHEMA = 1
# Extensions that this release supports in a record's `must_understand`; none yet.
UNDERSTOOD: frozenset[str] = frozenset()
SIGNING_ALGORITHM: Final = "ECDSA_SHA_256"
# Documents of this service are nested less deeply. This is far below Python's limit, also for later readers.
DEEPEST = 32


@dataclass(frozen=True)
class LiveContainer:
    """One container of the live model; digests are SHA-256 in hex.

    An address that ends in a slash is a folder in S3 (promotion/client/folder_artifact.py): `model_data_version_id` is empty, and
    `sha256` is that of the list of its files with their object versions. `objects` is that list, once `resolve` has read it.
    """

    image: str
    image_digest: str
    model_data_url: str
    model_data_version_id: str
    sha256: str
    manifest_sha256: str
    environment: Mapping[str, str] = field(default_factory=dict)
    objects: Manifest | None = None


@dataclass(frozen=True)
class LiveModel:
    """The one model approved for an environment, read from its signed record."""

    model_package_group: str
    model_package_version: int
    model_package_arn: str
    environment: str
    containers: tuple[LiveContainer, ...]
    content_types: tuple[str, ...]
    approved_by: tuple[str, ...]
    approved_at: str
    approval_id: str
    sequence: int
    key_id: str
    record: Mapping[str, object]


def signed_bytes(record: Mapping[str, object]) -> bytes:
    """Return the bytes that the signature covers."""
    unsigned = {key: value for key, value in record.items() if key != "signature"}
    return json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(text: str) -> Any:
    """Return the value of a JSON text from an untrusted source.

    Raises:
        ValueError: it is not JSON, names a field twice, is nested too deeply, or has characters that are no Unicode.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [found]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            break
    else:
        raise ValueError("it is nested too deeply")
    # A lone surrogate, which JSON can spell and UTF-8 can't, is a UnicodeEncodeError here, and so a ValueError.
    json.dumps(found, ensure_ascii=False).encode()
    return found


def readable(schema: object) -> bool:
    """Return True if this release reads records of `schema`: its own, the previous and the next one."""
    return type(schema) is int and schema >= 1 and abs(schema - SCHEMA) <= 1


class _NamedTwice(ValueError):
    pass


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object of JSON; refuse a repeated name, which different parsers would read differently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NamedTwice
    return found


def parse_live(text: str, *, group: str, environment: str) -> dict[str, Any]:
    """Return the fields of a live parameter's value, with their types checked, but not the signature.

    Raises:
        IntegrityError: it is no live record, is of another group or environment, or needs a feature that this release lacks.
    """
    place = f"the live parameter of {group} in {environment}"
    try:
        record = read_json(text)
    except ValueError as error:
        said = "names a field twice" if isinstance(error, _NamedTwice) else "is not JSON that can be read"
        raise IntegrityError(f"{place} {said}.") from None
    if not isinstance(record, dict) or not readable(record.get("schema")):
        raise IntegrityError(f"{place} is no record of schema {max(SCHEMA - 1, 1)} to {SCHEMA + 1}.")
    must = record.get("must_understand", [])
    if not isinstance(must, list) or not all(isinstance(each, str) and each in UNDERSTOOD for each in must):
        raise IntegrityError(
            f"{place} needs a reader that knows {one_line(str(must))}: install a newer release of this package."
        )
    for name in ("model_package_group", "environment", "key_id", "signature"):
        if not isinstance(record.get(name), str):
            raise IntegrityError(f"{place} has no {name}.")
    if not isinstance(record.get("sequence"), int):
        raise IntegrityError(f"{place} has no sequence.")
    if record["model_package_group"] != group or record["environment"] != environment:
        other, there = one_line(record["model_package_group"]), one_line(record["environment"])
        raise IntegrityError(f"{place} holds the record of {other} in {there}.")
    return record


def live_model(record: Mapping[str, Any]) -> LiveModel:
    """A checked record as a model.

    Raises:
        NotApproved: the record says that the live version was revoked.
        IntegrityError: a field is missing.
    """
    if record.get("revoked"):
        raise NotApproved(
            f"{record['model_package_group']}: what was live in {record['environment']} was revoked, and nothing took "
            "its place."
        )
    try:
        return LiveModel(
            model_package_group=record["model_package_group"],
            model_package_version=int(record["model_package_version"]),
            model_package_arn=record["model_package_arn"],
            environment=record["environment"],
            containers=tuple(
                LiveContainer(
                    image=found["image"],
                    image_digest=found["image_digest"],
                    model_data_url=found["model_data_url"],
                    model_data_version_id=found["model_data_version_id"],
                    sha256=found["sha256"],
                    manifest_sha256=found["manifest_sha256"],
                    environment=dict(found["environment"]),
                )
                for found in record["containers"]
            ),
            content_types=tuple(record["content_types"]),
            approved_by=tuple(record["approved_by"]),
            approved_at=record["approved_at"],
            approval_id=record["approval_id"],
            sequence=record["sequence"],
            key_id=record["key_id"],
            record=dict(record),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IntegrityError(f"the live record lacks {one_line(str(error))}.") from None
