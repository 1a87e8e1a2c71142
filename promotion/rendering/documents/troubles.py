"""Problems of live versions as text (cause, time and remedy), shared by board, model page and command."""

from __future__ import annotations

from datetime import datetime

from promotion import names
from promotion.domain.model import EnvironmentState
from promotion.formatting import counted, iso, listed, one_line, readable
from promotion.ledger.events import OpenDifferences
from promotion.rendering.documents.rows import Difference, TroubleRow

ROLL_BACK = "Roll back or revoke it."


def troubles(state: EnvironmentState) -> list[TroubleRow]:
    """Problems of the live version, the most serious first: `word`, `since`, `what` and `way`; `tone` is `shut` or `warn`."""
    if not state.is_troubled:
        return []
    found: list[TroubleRow] = []
    if state.broken_since:
        what = "What is served is not what was approved; pipelines refuse it."
        found.append(_trouble("broken", "shut", state.broken_since, what, ROLL_BACK))
    if state.failed_since:
        what = one_line(state.failure, 300).rstrip(".") or "It gave no reason"
        way = "The next run that completes ends this; roll back if it can't."
        found.append(_trouble("run failed", "shut", state.failed_since, f"{what}.", way))
    if state.endpoint.status == names.ENDPOINT_FAILED and not state.endpoint.removed:
        endpoint = state.endpoint
        serves = f" and serves v{endpoint.version}" if endpoint.version else ""
        said = readable(endpoint.problem, 600)[0].rstrip(".") or "It gave no reason"
        what = f"The endpoint {endpoint.name} failed{serves}: {said}."
        way = "promotion endpoint restore asks for it once more, when its cause is gone."
        found.append(_trouble("endpoint failed", "shut", endpoint.since, what, way))
    if state.drift:
        by = [_reporter(who) for who in state.drifting]
        what = f"The input drifts from what it was judged on{f', seen by {listed(by)}' if by else ''}."
        found.append(_trouble("drift", "warn", state.drift_since, what, "Decide whether to roll back or to retrain."))
    return found


def differences_document(group: str, found: OpenDifferences) -> Difference:
    """Return the differences that the last verification found, as a problem of the whole group."""
    more = f" And {counted(found.count - len(found.lines), 'more')}." if found.count > len(found.lines) else ""
    what = f"{' '.join(f'{one_line(line, 200)}.' for line in found.lines)}{more.replace('mores', 'more')}"
    name = one_line(group, 63)
    command = f"promotion verify {name}".removesuffix(" *")
    way = f"{command} checks again, and with --repair writes what follows from the ledger."
    word = counted(found.count, "difference")
    return {**_trouble(word, "shut", found.since, what, way), "group": name, "count": found.count}


def _trouble(word: str, tone: str, since: datetime | None, what: str, way: str) -> TroubleRow:
    return {"word": word, "tone": tone, "since": iso(since) if since else None, "what": what, "way": way}


def _reporter(who: str) -> str:
    return "inference runs" if who == names.INFERENCE_SOURCE else one_line(who, 80)
