"""In-memory snapshot of one group's states (environments and versions) at a ledger head."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from promotion.config.loading import Config
from promotion.domain.model import FOLD_VERSION, EnvironmentState, Evidence, Head, VersionState


class GroupSnapshot:
    """The states of one group at its head, and the names of the states changed since they were read.

    `load` reads a version that is not in memory yet. The head is read first, so if the version changes in between, the
    append fails; it never writes a wrong state.
    """

    def __init__(
        self,
        head: Head,
        *,
        environments: dict[str, EnvironmentState] | None = None,
        versions: dict[int, VersionState] | None = None,
        load: Callable[[int], VersionState | None] | None = None,
    ) -> None:
        """Make a snapshot of a group.

        Args:
            head: The ledger head that the states belong to.
            environments: States of environments by name.
            versions: States of versions by number, as far as they are read already.
            load: Reads the state of a version that is not in `versions`.
        """
        self.head = head
        self._environments = dict(environments or {})
        self._versions = dict(versions or {})
        self._load = load
        self.changed_environments: set[str] = set()
        self.changed_versions: set[int] = set()

    @property
    def group(self) -> str:
        """Name of the model package group."""
        return self.head.group

    @property
    def environments(self) -> dict[str, EnvironmentState]:
        """States of the environments by name, as a copy."""
        return dict(self._environments)

    @property
    def is_active(self) -> bool:
        """True if any environment has an open request or a live version with a problem."""
        return any(state.is_active for state in self._environments.values())

    @property
    def versions(self) -> dict[int, VersionState]:
        """States of the versions that are read so far, by number, as a copy."""
        return dict(self._versions)

    def find_version(self, number: int) -> VersionState | None:
        """Return the state of a version, or None if it was never registered."""
        if number not in self._versions and self._load is not None:
            found = self._load(number)
            if found is not None:
                self._versions[number] = found
        return self._versions.get(number)

    def version(self, number: int) -> VersionState:
        """Return the state of a version that an event names.

        Raises:
            KeyError: the version was never registered.
        """
        found = self.find_version(number)
        if found is None:
            raise KeyError(f"{self.group} v{number}")
        return found

    def environment(self, name: str) -> EnvironmentState:
        """Return the state of an environment; an empty state if no event names it yet."""
        return self._environments.get(name) or EnvironmentState(group=self.group, name=name)

    def live_evidence(self, name: str) -> Evidence | None:
        """Return the evidence with which an environment's live version was approved; None for an adopted version."""
        live = self.environment(name).live
        state = self.find_version(live) if live is not None else None
        request = state.requests.get(name) if state is not None else None
        return request.evidence if request is not None else None

    def last_good(self, environment: EnvironmentState) -> int | None:
        """Return the latest former version that was not rolled back; revoked ones are not among the former."""
        for number in reversed(environment.former):
            state = self.find_version(number)
            # `passed` rather than the status: a repeated request changes the status of a version that was rolled back.
            if state is not None and environment.name in state.passed:
                return number
        return None

    def put_version(self, state: VersionState) -> None:
        """Replace the state of a version and mark it as changed."""
        self._versions[state.version] = replace(state, fold=FOLD_VERSION)
        self.changed_versions.add(state.version)

    def put_environment(self, state: EnvironmentState) -> None:
        """Replace the state of an environment and mark it as changed."""
        self._environments[state.name] = replace(state, fold=FOLD_VERSION)
        self.changed_environments.add(state.name)


def falls_back(view: GroupSnapshot, version: int, config: Config) -> dict[str, int | None]:
    """Map each environment where `version` is live to its replacement after a revocation, or None."""
    found: dict[str, int | None] = {}
    for name, environment in view.environments.items():
        if environment.live == version:
            # An environment that has left the configuration has no approver for a replacement.
            governed = name in config.environment_names
            falls = governed and config.environment(name, view.group).on_revoke == "fall_back"
            found[name] = view.last_good(environment) if falls else None
    return found
