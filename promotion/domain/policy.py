"""Permissions: one pure predicate for page, POST and command, so that a page offers only what the POST accepts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import Environment, PeopleGroup
from promotion.domain import requesters
from promotion.domain.canonical_json import digest
from promotion.domain.gate_result import GateKind
from promotion.domain.gate_sentences import gate_why
from promotion.domain.model import EnvironmentState, Request, VersionState
from promotion.domain.package_changes import asking_stop, is_served, package_stop
from promotion.domain.people import Actor, Person
from promotion.errors import AlreadyDecided, Refused
from promotion.formatting import listed, listed_names

Kind = Literal["state", "expired", "policy"]


class Judgement(Struct, frozen=True, kw_only=True):
    """Result of a permission check; if refused, `why_not` is for the person and `who_may` names who could.

    `kind` groups the reasons: `state` (the request moved on), `expired`, or `policy` (the rules and gates).
    """

    may: bool
    kind: Kind | None = None
    code: str = ""
    why_not: str = ""
    who_may: str = ""
    breaks_glass: bool = False

    def require(self) -> None:
        """Raises Refused, or AlreadyDecided where the request has moved on."""
        if self.may:
            return
        if self.kind in ("state", "expired"):
            raise AlreadyDecided(self.why_not, code=self.code)
        raise Refused(self.why_not, code=self.code, who_may=self.who_may)


class Situation(Struct, frozen=True, kw_only=True):
    """Inputs of a decision on a request; `newest` is False for a link to an earlier attempt."""

    config: Config
    request: Request
    version: VersionState
    environment: EnvironmentState
    now: datetime
    newest: bool = True

    @property
    def rules(self) -> Environment:
        """The request's environment, with the overrides for its group."""
        return self.config.environment(self.request.environment, self.request.group)


ALLOWED = Judgement(may=True)
# Stops that asking again doesn't take away: the package has to be registered anew. A package that changed can be set back.
ASKING_IS_VAIN = ("removed", "artifact", "requester_unknown", "revoked")


def may_decide(person: Person, verdict: names.Verdict, s: Situation, *, breaking_glass: bool = False) -> Judgement:
    """Decide whether `person` may give `verdict` on a request now."""
    return (
        _request_state(person, s)
        or _person(person, verdict, s)
        or _verdict(person, verdict, s, breaking_glass)
        or ALLOWED
    )


def to_confirm(s: Situation) -> tuple[str, ...]:
    """Return the text that an approver has to confirm with a separate tick before approving; empty if nothing is unusual."""
    found = []
    if s.version.bypassed and s.version.bypass_seen.startswith(names.REJECTED):
        found.append(f"Somebody set version {s.request.version} to Rejected in the registry, outside this service.")
    failed = s.request.failed_at
    if failed is not None and any(vote.at <= failed for vote in s.request.approvals):
        found.append(
            "A run failed a quality gate after an earlier approval; a later run passed, and that approval counts."
        )
    return tuple(found)


def require_confirmed(s: Situation, verdict: names.Verdict, *, confirmed: bool) -> None:
    """Refuse an approval whose unusual circumstances were not confirmed.

    Raises:
        Refused: the tick is missing.
    """
    if verdict == names.APPROVED and not confirmed and (said := to_confirm(s)):
        raise Refused(f"{' '.join(said)} Tick that you have seen this, to approve.", code="unconfirmed")


def stop(s: Situation) -> Judgement:
    """Return why approving would be refused to any approver, whatever state the request is in; else `ALLOWED`.

    The approver who is asked about has nothing to do with the version.
    """
    anyone = Person(subject="", name="", groups=frozenset({s.rules.approver_group.id}))
    return _verdict(anyone, names.APPROVED, s, breaking_glass=False) or ALLOWED


def lasting_stop(s: Situation) -> Judgement:
    """Return why approving would be refused to any approver, also after a freeze and once the artifact is hashed."""
    # A freeze passes, and must not hide what stops a request after it.
    found = stop(replace(s, config=replace(s.config, freeze=())))
    return ALLOWED if found.code == "hashing" else found


def asking_again_helps(s: Situation) -> bool:
    """Return False where a new request of the version couldn't be approved by anybody: the version has to be registered anew."""
    return asking_helps(asking_stop(s.version), s.rules)


def asking_helps(stop: str, rules: Environment) -> bool:
    """Return what `asking_again_helps` does, by what would stop a new request (`asking_stop`), without reading the version."""
    if stop == "requester_unknown" and rules.requester_may_approve:
        return True
    return stop not in ASKING_IS_VAIN


def may_decide_at_all(person: Person, s: Situation) -> bool:
    """Decide whether `person` may give any verdict on a request now."""
    return any(may_decide(person, verdict, s).may for verdict in names.VERDICTS)


def _request_state(person: Person, s: Situation) -> Judgement | None:
    request, state = s.request, s.request.state_at(s.now)
    if not s.newest:
        return _moved_on("superseded", f"A newer request of version {request.version} took this one's place.")
    if state == "Superseded":
        return _moved_on("superseded", f"A newer request took the place of version {request.version} here.")
    if state == "Revoked" or s.version.revoked:
        return _moved_on("revoked", f"Version {request.version} was revoked.")
    if state in ("Approved", "Rejected"):
        by = ", ".join(vote.actor.label for vote in request.votes if vote.verdict == state)
        return _moved_on("decided", f"This request was already {state.lower()}" + (f" by {by}." if by else "."))
    if state == "Withdrawn":
        return _moved_on("withdrawn", "This request was withdrawn; its requester may ask again.")
    if state == "Expired":
        stopped = lasting_stop(s)
        cause = "Nobody decided; ask again."
        if not stopped.may:
            cause = f"Nobody could approve it: {stopped.why_not} {stopped.who_may}".strip()
        said = f"This request expired on {request.expires_at:%Y-%m-%d %H:%M} UTC. {cause}"
        return Judgement(may=False, kind="expired", code="expired", why_not=said)
    if s.environment.live is not None and s.environment.live > request.version:
        return _moved_on(
            "overtaken",
            f"Version {s.environment.live} is live in {request.environment}, and version {request.version} is older: "
            "it comes back only by rolling back.",
        )
    if any(vote.actor.is_also(person.as_actor()) for vote in request.votes):
        return _moved_on("voted", "You have already voted on this request; another person has to.")
    return None


def _person(person: Person, verdict: names.Verdict, s: Situation) -> Judgement | None:
    rules = s.rules
    # Break-glass is only for approvals; a rejection needs an approver.
    holds_glass = verdict == names.APPROVED and _holds_glass(person, s.config)
    if rules.approver_group.id not in person.groups and not holds_glass:
        return _not_approver(rules)
    return None


def _verdict(person: Person, verdict: names.Verdict, s: Situation, breaking_glass: bool) -> Judgement | None:
    if verdict == names.REJECTED:
        return None
    request, rules = s.request, s.rules
    package = s.version.package
    who_may = f"Another member of {rules.approver_group.label} may decide."
    if stopped := _package(s, who_may):
        return stopped
    if not rules.requester_may_approve:
        if package.requester is None:
            return _refused(
                "requester_unknown",
                "Nobody knows who registered this model, and its requester may not approve it.",
                "Register it again with metadata requested_by, or allow requester_may_approve.",
            )
        own = requesters.judge(person, package.requester)
        if own.code:
            return _refused(own.code, own.why_not, own.remedy or who_may)
    previous = s.config.previous(rules.name)
    if previous is not None:
        before = s.version.requests.get(previous)
        if previous not in s.version.passed:
            return _refused(
                "skips",
                f"{request.group} v{request.version} cannot enter {rules.name}: it is not approved for {previous}.",
                f"Approve it for {previous} first.",
            )
        if not rules.previous_approver_may_approve and before is not None and _approved_by(person, before):
            return _refused(
                "previous_approver", f"You approved this version for {previous}; somebody else has to now.", who_may
            )
    for window in s.config.freeze:
        applies = not window.environments or rules.name in window.environments
        if applies and window.start <= s.now < window.end:
            return _refused(
                "frozen",
                f"{rules.name} takes no promotion until {window.end:%Y-%m-%d %H:%M %Z}: {window.reason}.",
                "Rolling back stays allowed.",
            )
    in_group = rules.approver_group.id in person.groups
    if breaking_glass and _holds_glass(person, s.config):
        # Count it as break-glass only if a gate, the group or the quorum was bypassed; else no alarm is needed.
        completes = len(request.approvals) + 1 >= rules.quorum
        return Judgement(may=True, breaks_glass=not (request.gates_open and in_group and completes))
    if not request.gates_open:
        failed = [gate for gate in request.gates if not gate.open]
        # Of a run that failed, everything else is missing too: once is enough.
        runs = [gate for gate in failed if gate.kind is GateKind.RUN]
        whys = " ".join(gate_why(gate) for gate in runs or failed)
        may = f"{s.config.break_glass.group.label} may pass a failed gate." if s.config.break_glass else ""
        return _refused(
            "gate_shut", f"A quality gate failed. {whys}", may or "A version that passes the gate may enter."
        )
    if not in_group:
        return _not_approver(rules)
    return None


def _not_approver(rules: Environment) -> Judgement:
    why = f"You are not in the group that answers for {rules.name}."
    return _refused("not_approver", why, f"Members of {rules.approver_group.label} may decide.")


def _package(s: Situation, who_may: str) -> Judgement | None:
    match package_stop(s.version):
        case "hashing":
            return _refused(
                "hashing", "The artifact is still being hashed; nobody can approve until that ends.", who_may
            )
        case "removed":
            gone = f"Version {s.request.version} is no longer in the registry; nobody can approve it."
            return _refused("removed", gone, "Register it again.")
        case "changed":
            served = [field for field in s.version.changes if is_served(field)]
            other = f"The package in the registry is not the one that was reviewed: {listed(served)} changed."
            return _refused("changed", other, "Register what it is now as a new version, or set it back.")
        case "artifact":
            why = f"The artifact can't be approved: {s.version.package.problem}"
            return _refused("artifact", why, "Register it again, mended.")
    return None


def _approved_by(person: Person, request: Request) -> bool:
    return any(vote.actor.is_also(person.as_actor()) for vote in request.approvals)


def deciding_group(person: Person, rules: Environment, config: Config) -> str:
    """Return the id of the group that lets `person` decide in an environment; empty if none does."""
    if rules.approver_group.id in person.groups:
        return rules.approver_group.id
    return config.break_glass.group.id if config.break_glass is not None and _holds_glass(person, config) else ""


def overtaken_by(version: int, environment: EnvironmentState, now: datetime) -> int | None:
    """Return the newer version that is pending in an environment at `now`, else the newer one that is live; else None."""
    asks_until = environment.pending_expires_at
    asks = environment.pending if asks_until is None or now < asks_until else None
    return next((number for number in (asks, environment.live) if number is not None and number > version), None)


def may_be_asked_again(s: Situation) -> Judgement:
    """Decide whether a request may be asked again at all, by any person.

    It was closed without being let in, or was rolled back since, nothing newer is live or pending there, and a request could be
    approved: neither the package nor an unknown requester stops it.
    """
    request = s.request
    state, status = request.state_at(s.now), s.version.statuses.get(request.environment)
    closed = state in ("Rejected", "Expired", "Superseded", "Withdrawn")
    if not s.newest or s.version.revoked or not (closed or (state == "Approved" and status == names.ROLLED_BACK)):
        return _moved_on(
            "not_closed", "Only what was rejected, expired, superseded, withdrawn or rolled back can be asked again."
        )
    if s.environment.live == request.version:
        return _moved_on("overtaken", f"Version {request.version} is live in {request.environment}.")
    if request.environment in s.version.passed:
        back = f"Version {request.version} was live in {request.environment} until a newer one: it comes back by rolling back."
        return _moved_on("was_live", back)
    if (newer := overtaken_by(request.version, s.environment, s.now)) is not None:
        how = "is live in" if newer == s.environment.live else "asks to enter"
        return _moved_on("overtaken", f"Version {newer}, which is newer, {how} {request.environment}.")
    return ALLOWED if asking_again_helps(s) else lasting_stop(s)


def may_ask_again(person: Person, s: Situation) -> Judgement:
    """Decide whether somebody may request again after a request closed: an approver of the environment or the requester may."""
    possible = may_be_asked_again(s)
    if not possible.may:
        return possible
    if s.rules.approver_group.id in person.groups:
        return ALLOWED
    requester = s.version.package.requester
    if requester and requesters.is_exactly(person, requester):
        if s.request.changed and s.request.state_at(s.now) in ("Expired", "Withdrawn"):
            # Asked once with what has changed, it is the approvers' turn: else a rejection could be asked round for ever.
            return _refused(
                "asked_again",
                "You asked again already, and nobody has decided since.",
                f"Members of {s.rules.approver_group.label} may ask again.",
            )
        return ALLOWED
    return _refused(
        "not_approver",
        "Only the requester and the approvers may ask again.",
        f"Members of {s.rules.approver_group.label} may.",
    )


def may_read(person: Person, config: Config) -> bool:
    """Decide whether somebody may read requests and models: any approver, auditor or break-glass member."""
    return bool(person.groups & known_groups(config))


def reading_groups(config: Config) -> list[PeopleGroup]:
    """Return the groups that may read, without repetitions."""
    groups = [environment.approver_group for environment in config.environments]
    if config.identity.auditors is not None:
        groups.append(config.identity.auditors)
    return list(dict.fromkeys(groups))


def readers(config: Config) -> str:
    """Return the names of the groups that may read, for the message to people in none of them."""
    return listed_names([group.label for group in reading_groups(config)], "or")


def known_groups(config: Config) -> frozenset[str]:
    """Return the ids of all groups in this configuration."""
    ids = {environment.approver_group.id for environment in config.environments}
    for override in config.groups_override.values():
        ids |= {e.approver_group.id for e in override.environments.values() if e.approver_group is not None}
    if config.identity.auditors is not None:
        ids.add(config.identity.auditors.id)
    if config.break_glass is not None:
        ids.add(config.break_glass.group.id)
    return frozenset(ids)


def may_roll_back(actor: Person | Actor, name: str, group: str, config: Config) -> Judgement:
    """Decide whether somebody may roll `name` back: its approvers and operators may, also in a freeze."""
    rules = config.environment(name, group)
    return _approver_or_operator(actor, {rules.approver_group.id}, f"Members of {rules.approver_group.label} may.")


def may_revoke(actor: Person | Actor, group: str, config: Config) -> Judgement:
    """Decide whether somebody may revoke a version everywhere: any environment's approvers and operators."""
    rules = [config.environment(name, group) for name in config.environment_names]
    labels = listed_names([rule.approver_group.label for rule in rules])
    return _approver_or_operator(actor, {rule.approver_group.id for rule in rules}, f"Members of {labels} may.")


def may_be_reported(version: VersionState, name: str) -> Judgement:
    """Decide whether a team's own evaluation of a version counts as a run in `name`: it has to be approved there."""
    if not version.revoked and version.statuses.get(name) == names.APPROVED:
        return ALLOWED
    why = f"Version {version.version} is not approved for {name}, so that no evaluation there counts."
    return _refused("not_approved_there", why, "")


def _approver_or_operator(actor: Person | Actor, groups: set[str], who_may: str) -> Judgement:
    if isinstance(actor, Person):
        if actor.groups & groups:
            return ALLOWED
        return _refused("not_approver", "You are not in a group that answers for this.", who_may)
    if actor.kind == "operator":
        return ALLOWED
    return _refused("not_operator", "Only a person or an operator may do this.", who_may)


def _holds_glass(person: Person, config: Config) -> bool:
    return config.break_glass is not None and config.break_glass.group.id in person.groups


def _moved_on(code: str, why: str) -> Judgement:
    return Judgement(may=False, kind="state", code=code, why_not=why)


def _refused(code: str, why: str, who_may: str) -> Judgement:
    return Judgement(may=False, kind="policy", code=code, why_not=why, who_may=who_may)


def shown_digest(version: VersionState, request: Request) -> str:
    """Return the SHA-256, hex, of what an approver reviews: package, evidence, gates, changes in the registry."""
    shown: list[object] = [version.package_digest, request.evidence_digest, request.gates_digest]
    return digest([*shown, version.changes] if version.changes else shown)
