"""Ledger events about real-time endpoints: observed status, removal and restore."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from promotion import names
from promotion.domain import policy
from promotion.domain.endpoint_plan import same
from promotion.domain.model import EndpointState
from promotion.domain.people import SYSTEM, Actor
from promotion.errors import Refused
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, checked_reason, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot

LONGEST_PROBLEM = 1024


def record_endpoint(group: str, name: str, version: int, endpoint: EndpointState, *, context: Context) -> Receipt:
    """Record a changed endpoint of `group` in `name`; `version` is the wanted or the served version.

    Raises:
        Invalid: the version is unknown, or the environment, unless it has an endpoint from before it left the configuration.
    """
    # Before it is compared with the recorded one, which is as short.
    endpoint = replace(endpoint, problem=endpoint.problem[:LONGEST_PROBLEM])

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        known(view, version)
        if not view.environment(name).endpoint.name:
            context.config.environment(name, group)
        if same(endpoint, view.environment(name).endpoint):
            return "this is recorded already"
        changed = payloads.EndpointChanged(
            endpoint=endpoint.name,
            status=endpoint.status,
            serves=endpoint.version,
            config=endpoint.config,
            problem=endpoint.problem,
        )
        return [happened(changed, SYSTEM, version=version, environment=name)]

    return append(group, step, context)


def remove_endpoint(group: str, name: str, actor: Actor, reason: str, *, context: Context) -> Receipt:
    """Remove an endpoint until it is restored. The live version stays live.

    Raises:
        Refused: not an operator, no endpoint configured there, or removed already.
    """

    def judged(view: GroupSnapshot) -> str:
        if view.environment(name).endpoint.removed:
            raise Refused(f"The endpoint of {group} in {name} is removed already.", code="already_removed")
        return names.ENDPOINT_REMOVED

    return _operated(group, name, actor, reason, judged, context)


def restore_endpoint(group: str, name: str, actor: Actor, reason: str, *, context: Context) -> Receipt:
    """Request an endpoint again, after it was removed or has failed.

    Raises:
        Refused: not an operator, no endpoint configured there, or the endpoint already serves the live version.
    """

    def judged(view: GroupSnapshot) -> str:
        state = view.environment(name)
        fine = state.endpoint.status == names.ENDPOINT_IN_SERVICE and state.endpoint.version == state.live
        if fine and not state.endpoint.removed:
            raise Refused(f"The endpoint of {group} in {name} serves what is live.", code="in_service")
        return names.ENDPOINT_RESTORED

    return _operated(group, name, actor, reason, judged, context)


def _operated(
    group: str, name: str, actor: Actor, reason: str, judged: Callable[[GroupSnapshot], str], context: Context
) -> Receipt:
    reason = checked_reason(reason)
    policy.may_roll_back(actor, name, group, context.config).require()
    settings = context.config.environment(name, group).endpoint
    if settings is None:
        raise Refused(
            f"{name} has no endpoints: see [advanced.environments.{name}.endpoint] in promotion.toml.",
            code="no_endpoint",
        )

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        status, state = judged(view), view.environment(name)
        version = state.live if state.live is not None else state.endpoint.version
        if version is None:
            raise Refused(f"{group} has nothing live in {name}.", code="nothing_live")
        changed = payloads.EndpointChanged(status=status, reason=reason, endpoint=state.endpoint.name)
        return [happened(changed, actor, version=version, environment=name)]

    return append(group, step, context)
