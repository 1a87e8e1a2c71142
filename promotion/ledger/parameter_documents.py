"""Expected Parameter Store documents of a group: written by the projector, compared by `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promotion.client.live_record import SCHEMA, read_json, readable, signed_bytes
from promotion.domain.canonical_json import canonical
from promotion.domain.model import EnvironmentState, Package, VersionState
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot

# The advanced tier: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
LARGEST_VALUE_BYTES = 8192
# Bytes of a live record besides its containers: names, approvers, signature.
_BESIDE_CONTAINERS_BYTES = 3072


def live_record(view: GroupSnapshot, environment: EnvironmentState, key_id: str) -> dict[str, object] | None:
    """Return the expected live record of an environment, unsigned; None if no version was ever live there."""
    record: dict[str, object] = {
        "schema": SCHEMA,
        "model_package_group": view.group,
        "environment": environment.name,
        "sequence": environment.live_sequence,
        "key_id": key_id,
    }
    state = view.version(environment.live) if environment.live is not None else environment.kept
    if state is None:
        if not environment.revoked:
            return None
        return {**record, "revoked": True, "approval_id": environment.approval_id}
    approval = state.approvals[environment.name]
    return {
        **record,
        "model_package_version": state.version,
        "model_package_arn": state.package.arn,
        "containers": _containers(state.package),
        "content_types": list(state.package.content_types),
        "approved_by": list(approval.approved_by),
        "approved_at": approval.approved_at.isoformat().replace("+00:00", "Z"),
        "approval_id": approval.approval_id,
    }


def version_document(state: VersionState) -> dict[str, object]:
    """Return a version's attributes, without its history."""
    package = state.package
    first = package.containers[0] if package.containers else None
    return {
        "schema": SCHEMA,
        "model_package_group": state.group,
        "model_package_version": state.version,
        "model_package_arn": package.arn,
        "sha256": first.sha256 if first else "",
        "manifest_sha256": first.manifest_sha256 if first else "",
        "requested_by": package.requester.actor.subject if package.requester else None,
        "statuses": state.statuses,
        "revoked": state.revoked,
    }


def fits_a_parameter(package: Package) -> bool:
    """Return True if the live record fits into one parameter; long container environments may not."""
    size = len(dump([_containers(package), package.content_types]).encode())
    return size <= LARGEST_VALUE_BYTES - _BESIDE_CONTAINERS_BYTES


def same_record(found: str, wanted: dict[str, object]) -> bool:
    """Return True if a live parameter's value is signed and equal to `wanted`."""
    try:
        record = read_json(found)
    except ValueError:
        return False
    return isinstance(record, dict) and bool(record.get("signature")) and records_agree(record, wanted)


def records_agree(record: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Compare a record with `wanted`; only in their common fields if another release wrote the record."""
    if record.get("schema") != wanted["schema"] and readable(record.get("schema")):
        both = record.keys() & wanted.keys() - {"schema", "signature"}
        return "sequence" in both and all(record[name] == wanted[name] for name in both)
    return signed_bytes(record) == signed_bytes(wanted)


def _containers(package: Package) -> list[dict[str, object]]:
    return [
        {
            "image": container.image,
            "image_digest": container.image_digest,
            "model_data_url": container.model_data_url,
            "model_data_version_id": container.model_data_version_id,
            "sha256": container.sha256,
            "manifest_sha256": container.manifest_sha256,
            "environment": container.environment,
        }
        for container in package.containers
    ]


# Parameter Store's standard tier: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
PAGE_BYTES = 4096


def entry(event: Event) -> dict[str, object]:
    """Return an event's entry for Parameter Store: actor, time, kind, reason, and the ledger's hash."""
    found: dict[str, object] = {
        "sequence": event.sequence,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "actor": event.actor.subject,
        "environment": event.environment,
        "kind": event.kind,
        "verdict": getattr(event.payload, "verdict", None),
        "reason": getattr(event.payload, "reason", "") or None,
        "hash": event.hash,
    }
    return {key: value for key, value in found.items() if value is not None}


def pages_of(document: Mapping[str, object]) -> range:
    """Return the page numbers that a version's document counts; earlier pages were folded and deleted."""
    first, count = document.get("first_page", 1), document.get("pages", 0)
    return range(first, first + count) if isinstance(first, int) and isinstance(count, int) else range(0)


def dump(value: object) -> str:
    """Encode a parameter's value as JSON, with `{{` escaped, which Parameter Store refuses."""
    # Two braces are never adjacent outside a string in JSON, so this escape is inside one.
    return canonical(value).decode().replace("{{", "{\\u007b")


def seal(
    entries: Sequence[dict[str, object]], spare_bytes: int
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Split `entries` into a page that is written once and the entries that stay in the version's own parameter.

    The page is empty while all entries fit in `spare_bytes`. Otherwise it has the oldest entries that fit in PAGE_BYTES.
    """
    if len(dump(list(entries)).encode()) <= spare_bytes:
        return [], list(entries)
    page: list[dict[str, object]] = []
    for found in entries:
        if page and len(dump([*page, found]).encode()) > PAGE_BYTES:
            break
        page.append(found)
    return page, list(entries[len(page) :])
