"""Sentences about a request: comparison of the evidence, effect of each decision, outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from promotion import names
from promotion.config.loading import Config
from promotion.domain.gate_result import GateKind, GateResult
from promotion.domain.gate_sentences import gate_why
from promotion.domain.model import EnvironmentState, Request, VersionState
from promotion.domain.people import Person
from promotion.domain.without_run import what_follows
from promotion.formatting import ELLIPSIS, counted, iso, listed, moment, one_line, readable, span
from promotion.rendering.documents.rows import Approved, EndedBefore, MetricRow

SHUT_GATES_SAID = 5
METRICS_SAID = 8
LONGEST_REASON_BEFORE = 400

_NO_REJECTION = "That is not a rejection: it can be asked again."


def gates_said(gates: Sequence[GateResult], environment: str, ran_in: str | None) -> dict[str, str]:
    """Summarize the gates, with a tone: `open`, `shut` or `none`; a failed run, in `ran_in`, is named instead."""
    failed_run = next((gate for gate in gates if gate.kind is GateKind.RUN and not gate.open), None)
    if failed_run is not None:
        where = f" in {ran_in}" if ran_in else ""
        why = _ended(one_line(failed_run.problem or "No reason was given", 300))
        return {"tone": "shut", "title": f"The inference run{where} failed", "text": why}
    failed = [gate for gate in gates if not gate.open]
    if not gates:
        return {
            "tone": "none",
            "title": "No gates are set",
            "text": f"None are set for {environment}.",
        }
    if not failed:
        title = "The gate passed" if len(gates) == 1 else f"All {len(gates)} gates passed"
        return {"tone": "open", "title": title, "text": f"The evidence meets every bound set for {environment}."}
    title = "The gate failed" if len(gates) == 1 else f"{len(failed)} of {len(gates)} gates failed"
    whys = list(dict.fromkeys(_ended(one_line(gate_why(gate), 300)) for gate in failed))
    why = " ".join(whys[:SHUT_GATES_SAID])
    if len(whys) > SHUT_GATES_SAID:
        why += f" And {len(whys) - SHUT_GATES_SAID} more."
    return {"tone": "shut", "title": title, "text": why}


def against_live(
    rows: Sequence[MetricRow], version: int, live: int | None, environment: str, *, written: bool = True
) -> dict[str, str]:
    """Compare the candidate with the live version in one line, with a tone: `better`, `worse`, `mixed` or `none`.

    `written`: Parameter Store has the version that is live by the ledger.
    """
    if live == version and not written:
        return {"tone": "none", "title": "Not live yet", "text": _then_live(version, environment)}
    if live == version:
        return {"tone": "none", "title": "Live now", "text": f"Version {version} is what is live in {environment}."}
    if live is None:
        return {"tone": "none", "title": "Nothing is live", "text": f"It would be the first model in {environment}."}
    compared = [row for row in rows if row["difference"] is not None]
    if not compared:
        return {
            "tone": "none",
            "title": f"Not comparable with v{live}",
            "text": f"Version {live} is live in {environment}; there is no metric that both have.",
        }
    better = [row["metric"] for row in compared if row["better"]]
    worse = [row["metric"] for row in compared if row["better"] is False]
    noise = [row["metric"] for row in compared if row["noise"] and row["better"] is not None]
    tone = "mixed" if better and worse else "better" if better else "worse" if worse else "none"
    title = {
        "mixed": f"Mixed against live v{live}",
        "better": f"Better than live v{live}",
        "worse": f"Worse than live v{live}",
        "none": f"The same as live v{live}",
    }[tone]
    said = [f"better in {_some(better)}"] if better else []
    said += [f"worse in {_some(worse)}"] if worse else []
    text = ", ".join(said) or "no metric differs"
    if noise:
        everything = len(noise) == len(better) + len(worse)
        text += ", all within the noise" if everything else f"; within the noise: {_some(noise)}"
        if everything:
            title = f"No clear difference from live v{live}"
            tone = "none"
    return {"tone": tone, "title": title, "text": text[:1].upper() + text[1:] + "."}


def consequences(
    request: Request,
    environment: EnvironmentState,
    config: Config,
    requester: str,
    now: datetime,
    *,
    asking_helps: bool,
) -> dict[str, str]:
    """Describe the effects of approving, rejecting and doing nothing; `asking_helps` as policy.asking_again_helps."""
    name, version = request.environment, request.version
    live, following = environment.live, config.next(name)
    rules = config.environment(name, request.group)
    lacking = rules.quorum - len(request.approvals)
    place = f"in place of version {live}" if live is not None else "the first one there"
    approve = f"Version {version} becomes the one model live in {name}, {place}."
    if config.previous(name) is None:
        approve += " SageMaker’s registry then shows it as Approved."
    if following:
        approve += f" {what_follows(config, name, request.group)}"
    else:
        approve += f" Pipelines in {name} use it from their next run on; there is no environment after it."
    if lacking > 1:
        approve = (
            f"Counts as one of {rules.quorum} approvals; {counted(lacking - 1, 'more person')} must approve before anything "
            f"changes. Then: {approve[0].lower()}{approve[1:]}"
        ).replace("more persons", "more people")
    stays = f"version {live} stays live" if live is not None else "nothing is live there, as now"
    if asking_helps:
        told = f"{requester} is told your reason and may ask again." if requester else "The same version may ask again."
    else:
        told = f"{requester} is told your reason." if requester else ""
    return {
        "approve": approve,
        "reject": f"Version {version} stays out of {name}; {stays}. {told}".rstrip(),
        "wait": (
            f"The request expires {moment(request.expires_at, config.mail.time_zone)} (in {span(request.expires_at - now)}). "
            f"{_NO_REJECTION if asking_helps else 'That is not a rejection.'}"
        )
        if now < request.expires_at
        else "",
    }


def outcome(
    state: str,
    request: Request,
    environment: EnvironmentState,
    newest: bool,
    zone: str = "UTC",
    *,
    asking_helps: bool,
    written: bool = True,
) -> dict[str, str]:
    """Describe the outcome of a closed request, with times in `zone`; tone `good`, `bad` or `calm`.

    `written`: Parameter Store has the version that is live by the ledger.
    """
    name, version = request.environment, request.version
    by = listed([vote.actor.label for vote in request.votes if vote.verdict == state])
    at = f" on {moment(request.closed_at, zone)}" if request.closed_at else ""
    if not newest or state == names.SUPERSEDED:
        what = (
            f"A newer request took the place of this one{at if newest else ''}. Nothing can be decided here any more."
        )
        return {"tone": "calm", "title": "Superseded", "text": what}
    if state == names.APPROVED:
        if environment.live is not None and not written:
            now_live = _then_live(environment.live, name)
        elif environment.live == version:
            now_live = f"Version {version} is live in {name}."
        elif environment.live is not None:
            now_live = f"Version {environment.live} is live in {name} now."
        else:
            now_live = f"Nothing is live in {name} now."
        return {"tone": "good", "title": f"Approved by {by or 'the service'}", "text": f"Decided{at}. {now_live}"}
    if state == names.REJECTED:
        stays = f"version {environment.live} is live there" if environment.live is not None else "nothing is live there"
        return {
            "tone": "bad",
            "title": f"Rejected by {by or 'the service'}",
            "text": f"Decided{at}. Version {version} stays out of {name}; {stays}.",
        }
    if state == names.WITHDRAWN:
        again = ", and the same version can be asked for again" if asking_helps else ""
        return {"tone": "calm", "title": "Withdrawn", "text": f"The requester withdrew it{at}: nobody decided{again}."}
    if state == names.EXPIRED:
        return {
            "tone": "calm",
            "title": "Expired",
            "text": f"Nobody decided by {moment(request.expires_at, zone)}. "
            f"{_NO_REJECTION if asking_helps else 'That is not a rejection.'}",
        }
    return {"tone": "bad", "title": "Revoked", "text": f"Version {version} was revoked everywhere{at}."}


def yours(
    request: Request,
    person: Person,
    environment: EnvironmentState,
    config: Config,
    requester: str,
    *,
    written: bool,
) -> dict[str, str] | None:
    """Return the reader's own decision on a request, and its effect; None if they did not vote."""
    vote = next((vote for vote in request.votes if vote.actor.subject == person.subject), None)
    if vote is None:
        return None
    if vote.verdict == names.REJECTED:
        told = f" {requester} is told your reason and can ask again." if requester else ""
        return {
            "title": "You rejected this",
            "text": f"Version {request.version} stays out of {request.environment}.{told}",
        }
    rules, following = config.environment(request.environment, request.group), config.next(request.environment)
    lacking = rules.quorum - len(request.approvals)
    if request.state == "Pending" and lacking > 0:
        more = f"{counted(lacking, 'more approval')} by other people needed before it goes live."
        return {"title": "You approved this", "text": more}
    if environment.live == request.version and following:
        after = f"Next is {following}: its approvers are asked once there is evidence from {request.environment}."
    elif environment.live == request.version:
        since = "from their next run on" if written else "as soon as it is live"
        after = f"Pipelines in {request.environment} use it {since}."
    else:
        after = "It is not what is live there now."
    return {"title": "You approved this", "text": after}


def approved_before(version: VersionState, name: str, config: Config) -> list[Approved]:
    """List the approvers of a version in the environments before `name`, in order."""
    order = config.environment_names
    found: list[Approved] = []
    for environment in order[: order.index(name)] if name in order else ():
        request = version.requests.get(environment)
        if request is not None and request.approvals:
            by = [one_line(vote.actor.label, 120) for vote in request.approvals]
            found.append({"environment": environment, "by": by, "at": iso(request.approvals[-1].at)})
    return found


_HOW_IT_ENDED = {
    "Rejected": "rejected", "Expired": "expired, nobody decided", "Superseded": "superseded by a newer request",
    "Withdrawn": "withdrawn", "Approved": "approved", names.ROLLED_BACK: "rolled back after it was live",
}  # fmt: skip


def ended_before(request: Request) -> list[EndedBefore]:
    """List how earlier requests of the version for the environment ended, newest first: by whom, when, why."""
    return [
        {
            "how": _HOW_IT_ENDED.get(ending.how, ending.how),
            "by": one_line(ending.by, 120),
            "at": iso(ending.at),
            "reason": readable(ending.reason, LONGEST_REASON_BEFORE)[0],
        }
        for ending in reversed(request.earlier)
    ]


def live_in(version: VersionState, environments: Mapping[str, EnvironmentState]) -> list[str]:
    """Return the environments in which a version is live."""
    return [name for name, environment in environments.items() if environment.live == version.version]


def _then_live(version: int, environment: str) -> str:
    return f"Version {version} is being written to Parameter Store, then it is live in {environment}."


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", ELLIPSIS)) else f"{sentence}."


def _some(metrics: list[str]) -> str:
    """List metrics by name in a sentence; say how many others there are."""
    more = len(metrics) - METRICS_SAID
    return listed([*metrics[:METRICS_SAID], f"{more} more"] if more > 0 else metrics)
