"""Events as sentences, for pages, mails and the command."""

from __future__ import annotations

from typing import assert_never

from promotion import names
from promotion.ledger import payloads
from promotion.ledger.events import Event
from promotion.ledger.payloads import Unknown
from promotion.rendering.documents.evidence import reported_by


def sentence(event: Event) -> str:
    """Return a sentence that describes an event."""
    who = event.actor.label
    what = f"v{event.version}" if event.version is not None else "the policy"
    where = f" in {event.environment}" if event.environment else ""
    payload = event.payload
    why = _quoted(getattr(payload, "reason", ""))
    match payload:
        case payloads.ModelRegistered(unasked=unasked):
            said = {names.REJECTED: ", as Rejected: nobody is asked", "Failed": ", but SageMaker could not make it"}
            return f"{what} was registered by {who}{said.get(unasked, '')}"
        case payloads.RegistrationAsked(version=number):
            return f"{who} asked for v{number}, which was registered before this service came{why}"
        case payloads.ArtifactHashed(problem=problem):
            if not problem:
                return f"the artifact of {what} was read and hashed"
            return f"the artifact of {what} could not be hashed: {problem}"
        case payloads.ApprovalRequested(changed=changed):
            return f"{what} was requested for {event.environment}{_quoted(changed)}"
        case payloads.ApproverReminded():
            return f"the approvers of {event.environment} were reminded of {what}"
        case payloads.DecisionRecorded(verdict=verdict):
            return (
                f"{who} {'approved' if verdict == names.APPROVED else 'rejected'} {what} for {event.environment}{why}"
            )
        case payloads.ModelPromoted():
            return f"{what} went live{where}"
        case payloads.ModelRolledBack(from_version=before):
            return f"{who} rolled {event.environment} back to {what} from v{before}{why}"
        case payloads.ModelRevoked():
            return f"{who} revoked {what} everywhere{why}"
        case payloads.ModelAdopted():
            return f"{who} attested {what} as what already served{where}{why}"
        case payloads.RequestExpired():
            return f"the request of {what} for {event.environment} expired"
        case payloads.RequestSuperseded():
            return f"the request of {what} for {event.environment} was superseded by a newer version"
        case payloads.RequestWithdrawn():
            return f"{who} withdrew the request of {what} for {event.environment}{why}"
        case payloads.ApprovalBypassed(by=by, status=status, reverted=reverted):
            whom = f" by {by}" if by else ""
            return f"{what} was set to {status} outside this service{whom}{'; it is set back' if reverted else ''}"
        case payloads.PackageRemoved(by=by):
            return f"{by or 'somebody'} removed {what} from the registry"
        case payloads.PackageChanged(anew=True):
            return f"another package begins as {what}: the earlier one was deleted from the registry"
        case payloads.PackageChanged(by=by, changes=changes):
            if not changes:
                return f"the registry describes {what} again as it was registered"
            return f"{by or 'somebody'} changed {what} in the registry: {', '.join(sorted(changes))}"
        case payloads.InferenceCompleted(evidence=evidence, status=status):
            problem = f": {evidence.problem}" if evidence.problem else ""
            if evidence.reporter:
                return f"{reported_by(evidence)} reported an evaluation of {what}{where}{problem}"
            return f"inference on {what}{where} {_RUN_ENDED.get(status, 'completed')}{problem}"
        case payloads.InferenceSkipped(reason=reason, asks=asks):
            waits = "" if asks else "; nobody is asked until results are reported"
            return f"{what} was not measured{where}: {reason}{waits}"
        case payloads.IntegrityBroken(problem=problem):
            return f"{what}{where} was found to differ from what was approved{f': {problem}' if problem else ''}"
        case payloads.DriftDetected():
            return f"drift was detected{where} on {what}"
        case payloads.DriftEnded():
            return f"the input of {what}{where} no longer drifts"
        case payloads.RetrainingStarted():
            return f"retraining was started because {what} drifts{where}"
        case payloads.EndpointChanged():
            return _of_endpoint(event, payload, why)
        case payloads.PolicyChanged(before=policy_before):
            return "the policy in force changed" if policy_before else "the policy in force was recorded"
        case payloads.SigningKeyChanged(after=key):
            return f"another key signs from here on: {key}"
        case Unknown():
            return f"{event.kind} {what}{where}"
        case _:
            assert_never(payload)


_RUN_ENDED = {"Failed": "failed", "Missing": "was never reported"}


def _quoted(reason: str) -> str:
    return f": “{reason}”" if reason else ""


def _of_endpoint(event: Event, payload: payloads.EndpointChanged, why: str) -> str:
    endpoint = f"the endpoint in {event.environment}"
    match payload.status:
        case names.ENDPOINT_IN_SERVICE:
            return f"{endpoint} serves v{event.version}"
        case names.ENDPOINT_FAILED:
            serves = f"; it serves v{payload.serves}" if payload.serves else ""
            return f"{endpoint} does not serve v{event.version}: {payload.problem}{serves}"
        case names.ENDPOINT_WITHDRAWN:
            return f"{endpoint} was withdrawn"
        case other:
            done = "removed" if other == names.ENDPOINT_REMOVED else "requested again"
            return f"{event.actor.label} {done} {endpoint}{why}"
