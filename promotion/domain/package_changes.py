"""Differences between a package in the registry now and as it was registered.

A version is one package: its ARN with its creation time. Changes that affect serving (containers) are separate from others.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from promotion.domain.model import Container, Metric, Package, VersionState
from promotion.domain.variables import changed
from promotion.formatting import number

LONGEST_VALUE = 300
SERVED = ("image", "image digest", "model data", "model data (SHA-256)", "settings", "containers", "content types")
CREATED = "created"


class RegistryView(Struct, frozen=True, kw_only=True):
    """A version in the registry when its request is opened; `package` is None if the registry has none any more.

    `metrics` are the registered metrics whose value in the S3 document has changed since: old and new value by name.
    """

    package: Package | None
    metrics: dict[str, tuple[str, str]] = {}

    def of(self, version: VersionState, environments: tuple[str, ...]) -> VersionState:
        """Return the version with its state in the registry, which may be newer than its events."""
        if self.package is None or is_another(version.package, self.package):
            return replace(version, removed=True)
        return replace(version, changes={**changes(version.package, self.package, environments), **self.metrics})


def is_another(known: Package, found: Package) -> bool:
    """Return True if `found` was created at another time than `known`: group or version was deleted and created again."""
    return known.created_at is not None and found.created_at is not None and known.created_at != found.created_at


def changes(known: Package, found: Package, environments: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Map each field that changed to its old and new value; without the fields that this service writes itself.

    Args:
        known: The package as the ledger has it.
        found: The package as the registry describes it; a container without digests is compared without them.
        environments: Names of the environments, whose metadata fields are the service's own.
    """
    differing = {
        "containers": (str(len(known.containers)), str(len(found.containers))),
        "content types": (", ".join(known.content_types), ", ".join(found.content_types)),
        "description": (known.description, found.description),
        "model card": (_card(known), _card(found)),
    }
    if len(known.containers) == len(found.containers):
        for number, (before, after) in enumerate(zip(known.containers, found.containers, strict=True), 1):
            place = f" of container {number}" if len(known.containers) > 1 else ""
            differing |= {f"{what}{place}": pair for what, pair in _container(before, after).items()}
    old, new = (
        {key: value for key, value in each.metadata.items() if key not in environments} for each in (known, found)
    )
    # Of several names that begin alike, one that changed is named.
    differing |= {
        f"metadata {key}"[:128]: (old.get(key, ""), new.get(key, ""))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    }
    return {
        what: (before[:LONGEST_VALUE], after[:LONGEST_VALUE])
        for what, (before, after) in differing.items()
        if before != after
    }


def metric_changes(known: Mapping[str, Metric], found: Mapping[str, Metric]) -> dict[str, tuple[str, str]]:
    """Map each metric whose value changed to its old and new value, in readable form."""
    values = {name: tuple(number(each[name].value) if name in each else "" for each in (known, found))
              for name in {**known, **found}}  # fmt: skip
    return {f"metric {name}"[:128]: (before, after) for name, (before, after) in values.items() if before != after}


def is_served(field: str) -> bool:
    """Return True if a changed field affects serving: other bytes, another image, other settings."""
    return field.startswith(SERVED) or field == CREATED


def package_stop(version: VersionState) -> str:
    """Return why nobody may approve a version because of its package: a code of `Judgement`; empty if there is no reason."""
    if version.package.hashing:
        return "hashing"
    if version.removed:
        return "removed"
    if any(is_served(field) for field in version.changes):
        return "changed"
    return "artifact" if version.package.problem else ""


def asking_stop(version: VersionState) -> str:
    """Return why nobody could approve a new request of a version; empty if there is no reason.

    An unknown requester does so where the settings want another person than the requester (`policy.asking_helps`).
    """
    if version.revoked:
        return "revoked"
    return package_stop(version) or ("requester_unknown" if version.package.requester is None else "")


def _container(before: Container, after: Container) -> dict[str, tuple[str, str]]:
    found = {
        "image": (before.image, after.image),
        "model data": (before.model_data_url, after.model_data_url),
    }
    # A value that only one of them has is no difference.
    if before.image_digest and after.image_digest:
        found["image digest"] = (before.image_digest, after.image_digest)
    if before.sha256 and after.sha256:
        found["model data (SHA-256)"] = (before.sha256, after.sha256)
    keys = {**before.environment, **after.environment}
    return found | {
        f"settings {key}"[:128]: changed(key, before.environment.get(key, ""), after.environment.get(key, ""))
        for key in keys
        if before.environment.get(key) != after.environment.get(key)
    }


def _card(package: Package) -> str:
    return "; ".join(f"{title}: {text}" for title, text in package.card)
