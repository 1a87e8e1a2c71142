"""Events as sentences, for pages, mails and the command."""

from __future__ import annotations

from promotion.ledger.events import Event


def sentence(event: Event) -> str:
    """An event as a line that reads like a story."""
    who = event.actor.label
    what = f"v{event.version}" if event.version is not None else "the policy"
    where = f" in {event.environment}" if event.environment else ""
    reason = event.data.get("reason")
    why = f": “{reason}”" if reason else ""
    verdict = event.data.get("verdict")
    match event.kind:
        case "Model Registered":
            return f"{what} was registered by {who}"
        case "Artifact Hashed":
            if not event.data.get("problem"):
                return f"the artifact of {what} was read and hashed"
            return f"the artifact of {what} could not be hashed: {event.data['problem']}"
        case "Approval Requested":
            return f"{what} asked to enter {event.environment}"
        case "Approver Reminded":
            return f"the approvers of {event.environment} were reminded of {what}"
        case "Decision Recorded":
            return f"{who} {'approved' if verdict == 'Approved' else 'rejected'} {what} for {event.environment}{why}"
        case "Model Promoted":
            return f"{what} went live{where}"
        case "Model Rolled Back":
            return f"{who} rolled {event.environment} back to {what} from v{event.data.get('from_version')}{why}"
        case "Model Revoked":
            return f"{who} revoked {what} everywhere{why}"
        case "Model Adopted":
            return f"{who} attested {what} as what already served{where}{why}"
        case "Request Expired":
            return f"the request of {what} into {event.environment} expired"
        case "Request Superseded":
            return f"the request of {what} into {event.environment} gave way to a newer one"
        case "Approval Bypassed":
            by = event.data.get("by") or "somebody"
            done = "; it is set back" if event.data.get("reverted") else ""
            return f"{by} set {what} to {event.data.get('status')} outside this service{done}"
        case "Inference Completed":
            problem = (event.data.get("evidence") or {}).get("problem")
            ended = _RUN_ENDED.get(str(event.data.get("status")), "completed")
            return f"inference on {what}{where} {ended}{f': {problem}' if problem else ''}"
        case "Integrity Broken":
            problem = f": {event.data['problem']}" if event.data.get("problem") else why
            return f"{what}{where} was found not to be what was approved{problem}"
        case "Drift Detected":
            return f"drift was detected{where} on {what}"
        case "Drift Ended":
            return f"the input of {what}{where} no longer drifts"
        case "Retraining Started":
            return f"retraining was started because {what} drifts{where}"
        case "Endpoint Changed":
            return _of_endpoint(event, who, why)
        case "Policy Changed":
            return "the policy in force changed" if event.data.get("before") else "the policy in force was recorded"
        case _:
            return f"{event.kind} {what}{where}{why}"


_RUN_ENDED = {"Failed": "failed", "Missing": "was never reported"}


def _of_endpoint(event: Event, who: str, why: str) -> str:
    endpoint = f"the endpoint in {event.environment}"
    match event.data.get("status"):
        case "InService":
            return f"{endpoint} serves v{event.version}"
        case "Failed":
            serves = f"; it serves v{event.data['serves']}" if event.data.get("serves") else ""
            return f"{endpoint} does not serve v{event.version}: {event.data.get('problem', '')}{serves}"
        case "Withdrawn":
            return f"{endpoint} was withdrawn"
        case other:
            return f"{who} {'removed' if other == 'Removed' else 'asked again for'} {endpoint}{why}"
