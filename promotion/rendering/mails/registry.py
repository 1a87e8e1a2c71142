"""Mails about a version's package in the registry: changed after an approval, deleted, or failed to be created."""

from __future__ import annotations

from promotion.domain.package_changes import is_served
from promotion.formatting import listed, readable
from promotion.ledger import payloads
from promotion.rendering.mails.context import MailContext
from promotion.rendering.mails.layout import Letter


def registered(o: MailContext, payload: payloads.ModelRegistered) -> list[Letter]:
    """Write to the requester, who can register the model again, if SageMaker failed to create the package."""
    if payload.unasked != "Failed":
        return []
    return [
        Letter(
            to=o.requester,
            subject=f"{o.title}: SageMaker could not make the package",
            tone="stopped",
            eyebrow="Registration failed",
            headline=f"{o.title} was not made",
            intro=[
                readable(payload.package.problem, 1000)[0],
                "Nobody is asked to approve it. Register it again, mended.",
            ],
            action=("See the version", o.version_link),
            why="You receive this because you registered this version.",
        )
    ]


def changed(o: MailContext, payload: payloads.PackageChanged) -> list[Letter]:
    """Write if a change after an approval affects serving; before an approval, a new request shows the change."""
    if not payload.told:
        return []
    served = [field for field in payload.changes if is_served(field)]
    return [
        Letter(
            to=o.approvers(*o.config.environment_names),
            cc=o.copies(*o.config.environment_names, requester=True),
            subject=f"[changed] {o.title}: the package was changed after it was approved",
            tone="bad",
            eyebrow="Package changed",
            headline=f"{o.title} is not what was approved any more",
            intro=[
                f"In the registry, its {listed(served)} changed after an approval. Pipelines go on with what was approved.",
                "No further environment takes it: register what it is now as a new version, or set it back.",
            ],
            action=("See the version", o.version_link),
            why="Every approver is told when an approved package is changed.",
        )
    ]


def removed(o: MailContext) -> list[Letter]:
    """Write to the approvers of its pending request, and to its requester."""
    waits = [name for name, request in o.state.requests.items() if request.state == "Pending"]
    waits = [name for name in waits if name in o.config.environment_names]
    return [
        Letter(
            to=o.approvers(*waits),
            cc=o.copies(*waits, requester=True),
            subject=f"[{', '.join(waits)}] {o.title}: the package was deleted from the registry",
            tone="stopped",
            eyebrow="Package deleted",
            headline=f"{o.title} is no longer in the registry",
            intro=[
                "It was deleted while it waits for approval, so nobody can approve it. You can reject it, or let it expire."
            ],
            action=("See the version", o.version_link),
            why=f"You receive this because you are an approver of {listed(waits)}, or registered it.",
        )
    ]
