"""Mails about outcomes: decided, promoted, expired, rolled back, failed."""

from __future__ import annotations

from msgspec.structs import replace

from promotion import names
from promotion.domain.request_ids import parse_request_id
from promotion.domain.without_run import what_follows
from promotion.formatting import listed, number, one_line, readable
from promotion.ledger import payloads
from promotion.rendering.documents.card import requester_address
from promotion.rendering.mails.context import MailContext
from promotion.rendering.mails.layout import Letter
from promotion.rendering.mails.stops import stop_of

LONGEST_NOTE = 1200
# A table may have a hundred columns; only those with the largest drift are named.
DRIFTS_SAID = 5


def decided(o: MailContext, payload: payloads.DecisionRecorded) -> list[Letter]:
    """Write about a rejection to the requester, and about a break-glass approval to every approver."""
    name, by = o.environment, o.by
    if payload.verdict == names.REJECTED:
        return [
            Letter(
                to=o.requester,
                subject=f"[{name}] {o.title}: rejected by {by}",
                tone="bad",
                eyebrow=f"Decision for {name}",
                headline=f"{o.title} was rejected for {name}",
                intro=[f"{by} rejected it on {o.moment(o.event.time)}. It stays out of {name}."],
                quote=o.reason,
                action=("See the request, or ask again", o.links.approval(o.request_id)),
                action_note="Once something has changed, you can ask again on that page. " + o.signs_in,
                why="You receive this because you registered this version.",
            )
        ]
    if not payload.broke_glass:
        return []
    return [
        Letter(
            to=o.approvers(name),
            cc=o.copies(name),
            subject=f"[{name}] {o.title}: approved by breaking the glass, by {by}",
            tone="bad",
            eyebrow=f"Glass broken in {name}",
            headline=f"{by} broke the glass for {o.title}",
            intro=[f"It was approved for {name} on {o.moment(o.event.time)} past a failed gate or without the quorum."],
            quote=o.reason,
            action=("See what was approved", o.links.approval(o.request_id)),
            action_note="If this is wrong, roll back on the model’s page.",
            why=f"Every approver of {name} is told when the glass is broken.",
        )
    ]


def promoted(o: MailContext, payload: payloads.ModelPromoted) -> list[Letter]:
    name, replaces = o.environment, payload.replaces
    by = listed([one_line(who, 120) for who in payload.approvers]) or "the service"
    after = f" {what_follows(o.config, name, o.event.group)}".rstrip()
    place = f"in place of version {replaces}" if replaces else "the first one there"
    link = o.links.approval(o.request_id) if o.request_id else o.version_link
    votes = o.state.requests[name].votes if name in o.state.requests else ()
    return [
        Letter(
            to=o.requester,
            subject=f"[{name}] {o.title}: approved, live in {name}",
            tone="good",
            eyebrow=f"Decision for {name}",
            headline=f"{o.title} is live in {name}",
            intro=[f"Approved by {by} on {o.moment(o.event.time)}; {place}.{after}"],
            quote="\n".join(f"{one_line(v.actor.label, 120)}: {readable(v.reason, 600)[0]}" for v in votes if v.reason),
            action=("See the decision", link),
            action_note=o.signs_in,
            why="You receive this because you registered this version.",
        )
    ]


def expired(o: MailContext) -> list[Letter]:
    """Write to the requester; with the cause if approval was impossible. Nothing if the number is another package's now."""
    name = o.environment
    if (request := o.state.requests.get(name)) is None:
        return []
    stop = stop_of(o, request)
    again = "That is not a rejection: you can ask again on the page."
    cause = f"Nobody could approve it: {stop.why_not} {stop.who_may}".strip()
    return [
        Letter(
            to=o.requester or o.approvers(name),
            subject=f"[{name}] {o.title}: request expired",
            tone="calm",
            eyebrow=f"Request for {name}",
            headline=f"Nobody decided on {o.title} for {name}",
            intro=[f"The request expired. {again}"] if stop.may else ["The request expired.", cause],
            action=("Ask again" if stop.may else "See what stops it", o.links.approval(o.request_id)),
            action_note=o.signs_in if o.requester else "",
            why="You receive this because you registered this version."
            if o.requester
            else f"You receive this because you are an approver of {name}.",
        )
    ]


def superseded(o: MailContext, payload: payloads.RequestSuperseded, *, own: bool = False) -> list[Letter]:
    """Write to the requester of a request that another person's version superseded.

    With `own`, also if it was the requester's own version: if many are registered at once, it is unclear which one is
    pending.
    """
    name, by = o.environment, payload.by
    # A version that is live by adoption or rollback has no request that superseded this one.
    other = parse_request_id(by)[1] if by else o.view.environment(name).live
    newer = o.view.find_version(other) if other not in (None, o.version) else None
    if newer is None or (requester_address(newer.package) in o.requester and not own):
        return []
    came = f"A newer version is pending approval for {name}" if by else f"Version {newer.version} is live in {name} now"
    return [
        Letter(
            to=o.requester,
            subject=f"[{name}] {o.title}: superseded by v{newer.version}",
            tone="calm",
            eyebrow=f"Request for {name}",
            headline=f"{o.title} was superseded by v{newer.version}",
            intro=[f"{came}; nobody will decide on version {o.version} there."],
            action=("See the request", o.links.approval(o.request_id)),
            action_note=o.signs_in,
            why="You receive this because you registered the older version.",
        )
    ]


def rolled_back(o: MailContext, payload: payloads.ModelRolledBack) -> list[Letter]:
    name, by, before = o.environment, o.by, payload.from_version
    from_version = f" from v{before}" if before else ""
    return _and_requester(
        o,
        Letter(
            to=o.approvers(name),
            cc=o.copies(name),
            subject=f"[{name}] {o.group}: rolled back to v{o.version}{from_version}",
            tone="bad",
            eyebrow=f"Rolled back in {name}",
            headline=f"{name} is back on {o.title}",
            intro=[
                f"{by} rolled {name} back to version {o.version}{from_version} on {o.moment(o.event.time)}. "
                "Pipelines use it from their next run on."
            ],
            quote=o.reason,
            action=("See the model", o.model_link),
            action_note="A later version comes back the same way.",
            why=f"Every approver of {name} is told of a rollback.",
        ),
    )


def revoked(o: MailContext, payload: payloads.ModelRevoked) -> list[Letter]:
    by = o.by
    fallbacks = payload.falls_back
    intro = [f"{by} revoked version {o.version} on {o.moment(o.event.time)}: no pipeline may use it any more."]
    for name, fallback in fallbacks.items():
        nothing = f"In {name} nothing is live now: its pipelines stop."
        intro.append(f"{name} falls back to version {fallback}." if fallback else nothing)
    if not fallbacks:
        intro.append("It was live nowhere.")
    return _and_requester(
        o,
        Letter(
            to=o.approvers(*o.config.environment_names),
            cc=o.copies(*o.config.environment_names),
            subject=f"[revoked] {o.title}: revoked everywhere by {by}",
            tone="bad",
            eyebrow="Revoked everywhere",
            headline=f"{o.title} was revoked",
            intro=intro,
            quote=o.reason,
            action=("See the model", o.model_link),
            why="Every approver is told of a revocation.",
        ),
    )


def bypassed(o: MailContext, payload: payloads.ApprovalBypassed) -> list[Letter]:
    status, expected = one_line(payload.status, 60), one_line(payload.expected, 60)
    by = one_line(payload.by, 200) or "somebody"
    done = (
        f"It is being set back to {expected}." if payload.reverted else "By policy it is only reported, not set back."
    )
    return [
        Letter(
            to=o.approvers(*o.config.environment_names),
            subject=f"[bypassed] {o.title}: set to {status} outside this service",
            tone="bad",
            eyebrow="Approval bypassed",
            headline=f"{o.title} was set to {status} outside this service",
            intro=[
                f"{by} changed its status in the Model Registry, on {o.moment(o.event.time)}. The ledger says {expected}. {done}",
                "Pipelines that use Parameter Store are not affected; rules that deploy on the registry’s status may be.",
            ],
            action=("See the version", o.version_link),
            why="Every approver is told when an approval is bypassed.",
        )
    ]


def integrity_broken(o: MailContext, payload: payloads.IntegrityBroken) -> list[Letter]:
    places = [o.event.environment] if o.event.environment else list(o.config.environment_names)
    name = o.event.environment or "integrity"
    problem = readable(payload.problem, LONGEST_NOTE)[0]
    return [
        Letter(
            to=o.approvers(*places),
            cc=o.copies(*places),
            subject=f"[{name}] {o.title}: its bytes are not those that were approved",
            tone="bad",
            eyebrow="Integrity broken",
            headline=f"{o.title} is not what was approved",
            intro=[
                "The artifact, or the record that vouches for it, has changed since the approval. "
                "Pipelines refuse it: nothing is predicted with it until this is settled."
            ],
            quote=problem,
            action=("Roll back or revoke it", o.model_link),
            action_note="Both forms are on the model’s page; you sign in there.",
            why="Every approver is told when integrity is broken.",
        )
    ]


def drifted(o: MailContext, payload: payloads.DriftDetected) -> list[Letter]:
    name, settings = o.environment, o.config.drift
    largest = sorted(payload.drift.items(), key=lambda each: -each[1])
    said = [f"{one_line(k, 60).removesuffix('_psi').replace('_', ' ')} {number(v)}" for k, v in largest[:DRIFTS_SAID]]
    environment = o.view.environment(name)
    # When a delayed mail is written, another version may be live.
    asked = settings.ask_to_roll_back and environment.live == o.version
    back = o.view.last_good(environment) if asked else None
    intro = [
        f"The input that {o.title} receives in {name} has drifted from the data it was evaluated on. It stays live until you act."
    ]
    if said:
        above = f"; above {number(payload.bound)} it counts as drift" if payload.bound is not None else ""
        more = f", the largest of {len(largest)}" if len(largest) > len(said) else ""
        intro.append(f"Measured, as population stability indices: {listed(said)}{more}{above}.")
    if payload.retraining:
        pipeline = one_line(payload.retraining, 300).rpartition("/")[2]
        intro.append(
            f"A retraining is being started: the pipeline {pipeline}. What it registers will ask for its own approval."
        )
    elif payload.retraining_held:
        intro.append(f"No retraining was started: {one_line(payload.retraining_held, 200)}.")
    if back is not None:
        intro.append(
            f"Decide whether {name} goes back to version {back}; doing nothing leaves version {o.version} live."
        )
    elif asked:
        intro.append(f"There is no earlier version that {name} could go back to.")
    return [
        Letter(
            to=o.approvers(name) if settings.mail else (),
            cc=o.copies(name),
            subject=f"[{name}] {o.title}: drift detected" + (f" (PSI of {said[0]})" if said else ""),
            tone="stopped",
            eyebrow=f"Drift in {name}",
            headline=f"{o.title} is drifting in {name}",
            intro=intro,
            # For drift indices, the reason would only repeat the measured values.
            quote="" if said else readable(payload.reason, LONGEST_NOTE)[0],
            action=("Decide whether to roll back", o.model_link)
            if back is not None
            else ("See the model", o.model_link),
            action_note="The form to roll back is on the model’s page; you sign in there." if back is not None else "",
            why=f"You receive this because you are an approver or stakeholder of {name}.",
        )
    ]


def endpoint_changed(o: MailContext, payload: payloads.EndpointChanged) -> list[Letter]:
    """Write about an endpoint that fails to serve the live version, or that an operator removes or restores."""
    name, status, serves = o.environment, payload.status, payload.serves
    if status == names.ENDPOINT_FAILED:
        goes_on = f"Version {serves} goes on answering there." if serves else "Nothing answers there now."
        headline, intro = (
            f"The endpoint in {name} does not serve {o.title}",
            [
                f"It should have taken over on {o.moment(o.event.time)}, and did not. {goes_on}",
                "What pipelines use is not affected.",
            ],
        )
    elif status == names.ENDPOINT_REMOVED:
        headline, intro = (
            f"The endpoint of {o.group} in {name} was removed",
            [
                f"{o.by} removed it on {o.moment(o.event.time)}. Version {o.version} stays live for pipelines.",
            ],
        )
    elif status == names.ENDPOINT_RESTORED:
        headline, intro = (
            f"The endpoint of {o.group} in {name} was requested again",
            [
                f"{o.by} requested it on {o.moment(o.event.time)}. It will serve version {o.version}.",
            ],
        )
    else:
        return []
    said = readable(payload.problem, LONGEST_NOTE)[0]
    failed = status == names.ENDPOINT_FAILED
    return _and_requester(
        o,
        Letter(
            to=o.approvers(name),
            cc=o.copies(name),
            subject=f"[{name}] {o.title}: endpoint {status.lower()}",
            tone="bad" if failed else "calm",
            eyebrow=f"Endpoint in {name}",
            headline=headline,
            intro=intro,
            quote=said or o.reason,
            action=("See the model", o.model_link),
            action_note=f"promotion endpoint restore {o.group} {name} tries again." if failed else "",
            why=f"You receive this because you are an approver or stakeholder of {name}.",
        ),
    )


def _and_requester(o: MailContext, letter: Letter) -> list[Letter]:
    """Return a letter to approvers, and its copy for the requester with links that open for them."""
    told = {address.casefold() for address in (*letter.to, *letter.cc)}
    if not o.requester or o.requester[0].casefold() in told:
        return [letter]
    own = replace(
        letter,
        to=o.requester,
        cc=(),
        action=("See the version", o.version_link),
        action_note=o.signs_in,
        why="You receive this because you registered this version.",
    )
    return [letter, own]
