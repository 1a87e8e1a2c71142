"""Reducer for a version that goes live: states of the environment and of both versions."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.domain.model import FORMER_KEPT, Approval
from promotion.ledger import drift_state
from promotion.ledger.events import Event
from promotion.ledger.snapshot import GroupSnapshot


class Live(Struct, frozen=True, kw_only=True):
    """Change of the live version: the replaced version's new status, and the approvers if it was an approval."""

    order: tuple[str, ...]
    outgoing: names.Status
    approves: bool = False
    request_id: str = ""
    approved_by: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()


def go_live(view: GroupSnapshot, event: Event, number: int, name: str, live: Live) -> None:
    """Make a version live in an environment, and update the statuses of both versions.

    Args:
        view: The snapshot to change.
        event: The event that is applied.
        number: The version that goes live.
        name: The environment.
        live: How the version goes live.
    """
    environment = view.environment(name)
    before = environment.live
    if before is not None and before != number and not view.version(before).revoked:
        previous = view.version(before)
        passed = tuple(each for each in previous.passed if each != name or live.outgoing != names.ROLLED_BACK)
        view.put_version(replace(previous.with_status(name, live.outgoing), passed=passed))
    state = view.version(number)
    approval = state.approvals.get(name)
    if live.approves or approval is None:
        approval = Approval(
            approval_id=live.request_id or event.event_id,
            approved_by=live.approved_by or (event.actor.subject,),
            approved_at=event.time,
        )
    order = [*live.order, name]
    furthest = state.furthest
    if furthest not in order or order.index(name) >= order.index(furthest):
        furthest = name
    view.put_version(
        replace(
            state.with_status(name, names.APPROVED),
            approvals={**state.approvals, name: approval},
            furthest=furthest,
            passed=tuple(dict.fromkeys((*state.passed, name))),
        )
    )
    former = tuple(v for v in environment.former if v != number)
    if before is not None and before != number and not view.version(before).revoked:
        former = (*(v for v in former if v != before), before)
    view.put_environment(
        replace(
            view.environment(name),
            live=number,
            live_sequence=event.sequence,
            live_since=event.time,
            live_by=live.approvers or (event.actor.label,),
            approval_id=approval.approval_id,
            former=former[-FORMER_KEPT:],
            revoked=False,
            kept=None,
            closed=None,
            **drift_state.OVER,
        )
    )
