"""What Parameter Store should hold of a group, as plain data: the projector writes it, `verify` holds the store against it."""

from __future__ import annotations

import json
from typing import Any

from promotion import names
from promotion.domain.model import EnvironmentState, Package, VersionState
from promotion.client.live_record import SCHEMA, signed_bytes
from promotion.ledger.snapshot import GroupSnapshot

# Kinds that change what is live somewhere.
LIVE_KINDS = frozenset({names.MODEL_PROMOTED, names.MODEL_ROLLED_BACK, names.MODEL_REVOKED, names.MODEL_ADOPTED})
# The advanced tier: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
LARGEST_VALUE_BYTES = 8192
# What a live record holds besides its containers: names, approvers, signature.
_BESIDE_CONTAINERS_BYTES = 3072


def live_record(view: GroupSnapshot, environment: EnvironmentState, key_id: str) -> dict[str, Any] | None:
    """The record that should be live in an environment, unsigned; None where nothing ever was."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "model_package_group": view.group,
        "environment": environment.name,
        "sequence": environment.live_sequence,
        "key_id": key_id,
    }
    if environment.live is None:
        if not environment.revoked:
            return None
        return {**record, "revoked": True, "approval_id": environment.approval_id}
    state = view.version(environment.live)
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


def version_document(state: VersionState) -> dict[str, Any]:
    """A version's attributes, before its history is put to them."""
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
    """Whether a package's live record will go into one parameter; its containers' variables are what may be too much."""
    size = len(json.dumps([_containers(package), package.content_types], ensure_ascii=False).encode())
    return size <= LARGEST_VALUE_BYTES - _BESIDE_CONTAINERS_BYTES


def same_record(found: str, wanted: dict[str, Any]) -> bool:
    """Whether a live parameter's value says what `wanted` does, and is signed by somebody."""
    try:
        record = json.loads(found)
    except ValueError:
        return False
    return isinstance(record, dict) and bool(record.get("signature")) and signed_bytes(record) == signed_bytes(wanted)


def _containers(package: Package) -> list[dict[str, Any]]:
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
