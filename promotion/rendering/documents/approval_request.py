"""View data of an approval request, shared by the page and its JSON so that both are consistent."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from msgspec.structs import replace

from promotion import names
from promotion.domain import own_models, policy, signing
from promotion.domain.model import EnvironmentState, Evidence, VersionState
from promotion.domain.people import Person
from promotion.domain.policy import Situation
from promotion.formatting import iso, one_line, readable
from promotion.ledger.events import RefusedMail
from promotion.links.urls import Links
from promotion.rendering.documents.being_written import cursor_of, is_written
from promotion.rendering.documents.card import differences, package_document, requester_address
from promotion.rendering.documents.curves import curve_documents
from promotion.rendering.documents.evidence import (
    SLICES_SHOWN,
    comparison,
    evidence_document,
    gate_documents,
    runs_document,
    sample_documents,
    slice_documents,
)
from promotion.rendering.documents.pictures import PictureSource, drawn
from promotion.rendering.documents.rows import MetricRow, RefusedAddress
from promotion.rendering.documents.run_log import run_log
from promotion.rendering.documents.story import (
    against_live,
    approved_before,
    consequences,
    ended_before,
    gates_said,
    outcome,
    yours,
)

# How long a page waits for a decision's projections before it reports a problem.
FOLLOWED_FOR = timedelta(minutes=10)
# Two pictures of the largest size, in base64, are half of the largest response of API Gateway and Lambda.
PICTURES_ON_PAGE = 2
# The ledger refuses texts with more bytes than this, so a form accepts no more characters.
LONGEST_REASON = 2000


def request_document(
    situation: Situation,
    person: Person,
    *,
    csrf: str,
    links: Links,
    live: VersionState | None,
    applied: Mapping[str, int] | None,
    samples: Sequence[Mapping[str, object]] | None,
    slices: Mapping[str, object] | None = None,
    picture: PictureSource | None = None,
    own_image: str = "",
) -> dict[str, object]:
    """Build an approval request's data as `person` sees it at `situation.now`.

    `live` is the live version in the request's environment; `applied` has each projection target's cursor; `picture`
    reads a PNG by its s3:// address, for a page that shows it; `own_image` is this service's inference image.
    """
    s, request, package = situation, situation.request, situation.version.package
    config, name = s.config, request.environment
    state, helps = _state(s), policy.asking_again_helps(s)
    may = policy.may_decide(person, names.APPROVED, s)
    may_reject = policy.may_decide(person, names.REJECTED, s)
    glass = policy.may_decide(person, names.APPROVED, s, breaking_glass=True).breaks_glass
    serving = live.version if live is not None else None
    # A version that is live itself is compared with nothing.
    live = live if serving != request.version else None
    before = _admitted_on(live, name)
    lower = frozenset(gate.metric for gate in s.rules.gates if gate.metric and gate.lower_is_better)
    rows = comparison(request.evidence, before, request.gates, lower)
    done, written = _applied(s, applied), is_written(s.environment, cursor_of(applied))
    packaged = package_document(package, request.evidence, config.environment_names, request.gates, own_image=own_image)
    told = config.may_write_to(requester_address(package))
    requester = packaged["requester"]["name"] if packaged["requester"] and told else ""
    return {
        "request_id": request.id,
        "state": state,
        "newest": s.newest,
        "may_decide": may.may,
        "may_reject": may_reject.may,
        "may_break_glass": glass,
        "why_not": may.why_not,
        "why_code": may.code,
        "who_may": may.who_may,
        "may_ask_again": policy.may_ask_again(person, s).may,
        "may_withdraw": own_models.may_withdraw(person, s).may,
        "reads_all": policy.may_read(person, config),
        "csrf": csrf,
        "model_package_group": request.group,
        "model_package_version": request.version,
        "environment": name,
        "previous_environment": config.previous(name),
        "next_environment": config.next(name),
        "attempt": request.attempt,
        "confirm": list(policy.to_confirm(s)) if state == "Pending" else [],
        "registry_changes": [
            {"what": one_line(what, 130), "registered": one_line(before, 300), "now": one_line(after, 300)}
            for what, (before, after) in s.version.changes.items()
        ],
        "ended_before": ended_before(request),
        "changed": readable(request.changed, LONGEST_REASON)[0],
        "requested_at": iso(request.requested_at),
        "expires_at": iso(request.expires_at),
        "closed_at": iso(request.closed_at) if request.closed_at else None,
        "now": iso(s.now),
        "signature": _signature(person, s),
        "requester_told": told,
        "nobody_else_decides": own_models.nobody_else_decides(s.version, s.rules, config),
        "quorum": s.rules.quorum,
        "approvals": len(request.approvals),
        "approver_group": s.rules.approver_group.label,
        "approved_before": approved_before(s.version, name, config),
        "previous_approver_may_approve": s.rules.previous_approver_may_approve,
        "votes": [
            {
                "name": one_line(vote.actor.label, 120),
                "subject": vote.actor.subject,
                "verdict": vote.verdict,
                "reason": vote.reason,
                "at": iso(vote.at),
            }
            for vote in request.votes
        ],
        "evidence": evidence_document(request.evidence, before, digest=request.evidence_digest),
        "runs": runs_document(request),
        "gates": gate_documents(request.gates),
        "gates_said": gates_said(request.gates, name, request.evidence.environment),
        "comparison": rows,
        "against_live": against_live(rows, request.version, serving, name, written=written),
        "live": _live(live, s.environment, links),
        "differences": differences(s.version, live, config.environment_names) if live else [],
        "samples": sample_documents(samples),
        "registered": _registered(s, config.environment_names[0], lower),
        # Both are set by the function that reads other groups, and what mail was refused.
        "next_waiting": None,
        "mail_refused": [],
        "curves": curve_documents(request.evidence, _as_registered(s, config.environment_names[0]), before),
        "run_log": run_log(package.arn, request.evidence),
        "pictures": _pictures(request.evidence, rows, picture),
        "slices": slice_documents(slices, request.evidence.metrics)[:SLICES_SHOWN],
        "package": packaged,
        "consequences": consequences(request, s.environment, config, requester, s.now, asking_helps=helps)
        if state == "Pending"
        else None,
        "yours": yours(request, person, s.environment, config, requester, written=written),
        "outcome": outcome(
            state, request, s.environment, s.newest, config.mail.time_zone, asking_helps=helps, written=written
        )
        if state != "Pending"
        else None,
        "applied": done,
        "following": is_followed(s, applied),
        "links": {
            "self": links.approval(request.id),
            "newest": _newest(s, links),
            "version": links.version(request.group, request.version),
            "model": links.model(request.group),
            "board": links.board(),
            "waiting": f"{links.board()}?show=waiting",
        },
    }


def refused_addresses(s: Situation, refused: Iterable[RefusedMail], person: Person) -> list[RefusedAddress]:
    """Return the addresses that SES has refused since the request was made, of people whom its mails should reach.

    A requester without other read access sees only their own address.
    """
    own = requester_address(s.version.package)
    people = (own, *s.rules.approvers, *s.rules.stakeholders) if policy.may_read(person, s.config) else (own,)
    wanted = {address.casefold() for address in people if address}
    return [
        {"address": one_line(each.address, 200), "at": iso(each.at), "reason": readable(each.reason, 300)[0]}
        for each in refused
        if each.address.casefold() in wanted and each.at >= s.request.requested_at
    ]


def is_followed(s: Situation, applied: Mapping[str, int] | None, *, within: timedelta = FOLLOWED_FOR) -> bool:
    """Return True if the projection of a decision, made at most `within` ago, is not finished."""
    closed_at, done = s.request.closed_at, _applied(s, applied)
    if closed_at is None or done is None or s.now - closed_at >= within:
        return False
    return not (done[names.REGISTRY] and done[names.PARAMETERS])


def _admitted_on(live: VersionState | None, environment: str) -> Evidence | None:
    """Return the evidence on which the live version was admitted."""
    request = live.requests.get(environment) if live else None
    return request.evidence if request else None


def _as_registered(s: Situation, first: str) -> Evidence | None:
    """Return the registered evidence, if the request is judged on a run's evidence."""
    asked = s.version.requests.get(first)
    if s.request.evidence.source != "inference" or asked is None or asked.evidence.source != "registration":
        return None
    return asked.evidence


def _registered(s: Situation, first: str, lower: frozenset[str]) -> list[MetricRow]:
    """Compare registered metrics with those of the run; empty if the request is judged on the registered ones."""
    registered = _as_registered(s, first)
    if registered is None:
        return []
    rows = comparison(s.request.evidence, registered, (), lower)
    return [row for row in rows if row["live"] is not None]


def _live(live: VersionState | None, environment: EnvironmentState, links: Links) -> dict[str, object] | None:
    if live is None:
        return None
    return {
        "version": live.version,
        "since": iso(environment.live_since) if environment.live_since else None,
        "by": [one_line(name, 120) for name in environment.live_by],
        "link": links.version(live.group, live.version),
    }


def _newest(s: Situation, links: Links) -> str | None:
    """Return the URL of the request that superseded the linked one."""
    if not s.newest:
        return links.approval(s.request.id)
    return links.approval(s.request.superseded_by) if s.request.superseded_by else None


def _pictures(evidence: Evidence, rows: list[MetricRow], source: PictureSource | None) -> list[dict[str, str]]:
    """Return a run's pictures as data URLs, for pages only; the numbers are shown even if a picture is missing."""
    # Omit pictures of metrics that the page draws itself.
    itself = tuple(name for name, known in (("roc", evidence.roc), ("confusion", evidence.confusion)) if known)
    shown = tuple(each for each in evidence.pictures if not each.rpartition("/")[2].startswith(itself))
    evidence = replace(evidence, pictures=shown)
    found = drawn(evidence, rows, source, most=PICTURES_ON_PAGE)[0] if source is not None else []
    return [
        {"source": f"data:image/png;base64,{base64.b64encode(each.data).decode()}", "alternative": each.alternative}
        for each in found
    ]


def _state(s: Situation) -> str:
    return s.request.state_at(s.now) if s.newest else "Superseded"


def _applied(s: Situation, applied: Mapping[str, int] | None) -> dict[str, bool] | None:
    """Return, by projection target, whether its cursor has reached the decision; None if there is no decision."""
    if applied is None or _state(s) not in ("Approved", "Rejected", "Revoked"):
        return None
    sequence = s.request.closed_sequence or s.version.last_sequence
    return {target: applied.get(target, 0) >= sequence for target in names.TARGETS}


def _signature(person: Person, s: Situation) -> dict[str, str] | None:
    """Return the statement to sign, if decisions are signatures in this environment."""
    if not s.rules.signature:
        return None
    about = (s.request.group, s.request.version, s.request.environment)
    return {
        "name": one_line(person.name, 120),
        "role": s.rules.approver_group.label,
        "approve": signing.meaning(names.APPROVED, *about),
        "reject": signing.meaning(names.REJECTED, *about),
        "time": iso(s.now),
    }
