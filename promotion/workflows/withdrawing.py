"""Withdrawal of a pending request by its requester."""

from __future__ import annotations

from promotion.domain import own_models
from promotion.domain.people import Person
from promotion.domain.request_ids import parse_request_id
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, checked_reason
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows import decisions


def withdraw(asked: str, person: Person, reason: str, *, context: Context) -> Receipt:
    """Close the pending request `asked` without a decision; a reason is optional.

    Raises:
        AlreadyDecided: the request is not pending any more.
        Refused: the person could not be verified as its requester.
    """
    reason = checked_reason(reason) if reason.strip() else ""
    group, version, name, _ = parse_request_id(asked)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        situation = decisions.situation(view, asked, context=context)
        own_models.may_withdraw(person, situation).require()
        withdrawn = payloads.RequestWithdrawn(request_id=situation.request.id, reason=reason)
        return [happened(withdrawn, person.as_actor(), version=version, environment=name)]

    return append(group, step, context)
