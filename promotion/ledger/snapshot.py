"""What is so of one group: the states of its environments and versions, as of a head."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config
from promotion.domain.model import FOLD_VERSION, EnvironmentState, Head, VersionState


class GroupSnapshot:
    """The states of one group as of its head, and which of them have changed since they were read.

    `load` reads a version that is not at hand yet. The head has been read before it, so a version that has changed
    in between makes the append fail rather than be wrong.
    """

    def __init__(
        self,
        head: Head,
        *,
        environments: dict[str, EnvironmentState] | None = None,
        versions: dict[int, VersionState] | None = None,
        load: Callable[[int], VersionState | None] | None = None,
    ) -> None:
        self.head = head
        self._environments = dict(environments or {})
        self._versions = dict(versions or {})
        self._load = load
        self.changed_environments: set[str] = set()
        self.changed_versions: set[int] = set()

    @property
    def group(self) -> str:
        return self.head.group

    @property
    def environments(self) -> dict[str, EnvironmentState]:
        return dict(self._environments)

    @property
    def versions(self) -> dict[int, VersionState]:
        return dict(self._versions)

    def find_version(self, number: int) -> VersionState | None:
        """The state of a version, or None where it was never registered."""
        if number not in self._versions and self._load is not None:
            found = self._load(number)
            if found is not None:
                self._versions[number] = found
        return self._versions.get(number)

    def version(self, number: int) -> VersionState:
        """The state of a version that an event speaks of; KeyError where there is none."""
        found = self.find_version(number)
        if found is None:
            raise KeyError(f"{self.group} v{number}")
        return found

    def environment(self, name: str) -> EnvironmentState:
        """The state of an environment; an empty one where nothing ever happened there."""
        return self._environments.get(name) or EnvironmentState(group=self.group, name=name)

    def last_good(self, environment: EnvironmentState, *, without: int | None = None) -> int | None:
        """The version that was live before, leaving out those that were revoked, or rolled back because they were bad."""
        for number in reversed(environment.former):
            state = self.find_version(number)
            if state is None or number == without or state.revoked:
                continue
            if state.statuses.get(environment.name) != names.ROLLED_BACK:
                return number
        return None

    def put_version(self, state: VersionState) -> None:
        self._versions[state.version] = replace(state, fold=FOLD_VERSION)
        self.changed_versions.add(state.version)

    def put_environment(self, state: EnvironmentState) -> None:
        self._environments[state.name] = replace(state, fold=FOLD_VERSION)
        self.changed_environments.add(state.name)


def falls_back(view: GroupSnapshot, version: int, config: Config) -> dict[str, int | None]:
    """Where `version` is live, and what would be in its place were it revoked: its last good version, or nothing."""
    found: dict[str, int | None] = {}
    for name, environment in view.environments.items():
        if environment.live == version:
            # An environment that has left the configuration has nobody to answer for what would come in its place.
            governed = name in config.environment_names
            falls = governed and config.environment(name, view.group).on_revoke == "fall_back"
            found[name] = view.last_good(environment, without=version) if falls else None
    return found
