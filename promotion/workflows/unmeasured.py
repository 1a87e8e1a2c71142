"""Promotions into an environment without an inference run, because it has no input."""

from __future__ import annotations

from promotion import names
from promotion.domain import without_run
from promotion.domain.model import Evidence
from promotion.domain.people import SYSTEM
from promotion.domain.registration import carried
from promotion.ledger import payloads
from promotion.ledger.append import Context, Receipt, append, known
from promotion.ledger.events import NewEvent, happened
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows.requests import ask


def record_unmeasured(group: str, version: int, name: str, reason: str, *, context: Context) -> Receipt:
    """Record that a version isn't measured in `name`, and request the next environment if `without_run` allows it.

    Recorded once for each version and environment, so that an hourly schedule without input sends no repeated mail.

    Raises:
        Invalid: the version or the environment is unknown.
    """
    context.config.environment(name, group)

    def step(view: GroupSnapshot) -> list[NewEvent] | str:
        state, following = known(view, version), context.config.next(name)
        if following is None:
            return f"no environment comes after {name}"
        if state.statuses.get(name) != names.APPROVED:
            return f"version {version} is not live in {name} any more"
        if name in state.evidence or without_run.mark(name) in state.runs:
            return "it was measured there, or this is recorded already"
        if following in state.requests or state.statuses.get(following) != names.PENDING:
            return f"{following} was asked already"
        asks = without_run.asks_without_run(context.config, name, group)
        skipped = happened(
            payloads.InferenceSkipped(reason=reason, asks=asks), SYSTEM, version=version, environment=name
        )
        if not asks:
            return [skipped]
        nothing = Evidence(source="inference", environment=name, status="Missing", problem=reason)
        return [skipped, *ask(view, state.package, following, carried(nothing, state.package), SYSTEM, context)]

    return append(group, step, context)
