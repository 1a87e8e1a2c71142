"""A decision's record as one HTML file: every signature as text, and the events that prove them, for offline checks."""

from __future__ import annotations

from markupsafe import Markup

from promotion.domain.gate_sentences import gate_name, gate_why
from promotion.domain.model import Request
from promotion.domain.people import Authentication
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid
from promotion.formatting import iso, listed
from promotion.ledger import decision_export
from promotion.ledger.decision_export import Bundle
from promotion.ledger.events import Event
from promotion.ledger.payloads import DecisionRecorded
from promotion.rendering import pages
from promotion.rendering.sentences import sentence

_BEGIN = b'<script type="application/json" id="bundle">\n'
_END = b"\n</script>"


def write(found: Bundle) -> bytes:
    """Return the record of a bundle; the same bundle always gives the same bytes."""
    return pages.render_record(_document(found)).encode()


def is_record(text: bytes) -> bool:
    """Return True if a file is a record rather than a bundle."""
    return text.lstrip()[:9].lower() == b"<!doctype"


def read(text: bytes) -> Bundle:
    """Return the bundle in a record.

    Raises:
        Invalid: the record contains no bundle.
    """
    _, begun, rest = text.partition(_BEGIN)
    enclosed, ended, _ = rest.partition(_END)
    if not begun or not ended:
        raise Invalid("FILE", "this is no record: it encloses no events.")
    return decision_export.read(enclosed)


def problems(text: bytes, found: Bundle) -> list[str]:
    """List what is wrong with the text of a record whose bundle is valid."""
    if write(found) == text:
        return []
    return [
        "the text is not what this version of the command writes of the enclosed events: export it anew and compare"
    ]


def _document(found: Bundle) -> dict[str, object]:
    _, version, _, _ = parse_request_id(found.request_id)
    events = found.read_events()
    own = [event for event in events if event.version == version]
    package = decision_export.package_of(found)
    request = decision_export.request_of(found)
    return {
        "request_id": found.request_id,
        **_request(request),
        "decisions": [_decision(event, event.payload) for event in own if isinstance(event.payload, DecisionRecorded)],
        "arn": package.arn,
        "requester": package.requester.actor.label if package.requester else "unknown",
        "containers": package.containers,
        "events": [{"sequence": event.sequence, "time": iso(event.time), "text": sentence(event)} for event in own],
        "first": events[0].sequence,
        "last": events[-1].sequence,
        "hash": events[-1].hash,
        "signature": events[-1].signature,
        "policy": events[-1].policy_digest,
        # `</script>` would end the script element, so `<` is written as a JSON escape.
        "bundle": Markup(decision_export.write(found).decode().rstrip("\n").replace("<", "\\u003c")),  # noqa: S704
    }


def _request(request: Request) -> dict[str, object]:
    return {
        "group": request.group,
        "version": request.version,
        "environment": request.environment,
        "state": request.state,
        "requested_at": request.requested_at,
        "closed_at": request.closed_at,
        "metrics": sorted(request.evidence.metrics.items()),
        "gates": [{"name": gate_name(gate), "open": gate.open, "why": gate_why(gate)} for gate in request.gates],
    }


def _decision(event: Event, decided: DecisionRecorded) -> dict[str, object]:
    signed, actor = decided.signature, event.actor
    return {
        "environment": event.environment,
        "verdict": decided.verdict,
        "reason": decided.reason,
        "broke_glass": decided.broke_glass,
        "name": signed.name if signed else actor.label,
        "role": signed.role if signed else "",
        "meaning": signed.meaning if signed else "",
        "time": signed.signed_at if signed else iso(event.time),
        "shown": signed.shown_sha256 if signed else event.evidence_digest,
        "subject": actor.subject,
        "authentication": _authentication(actor.authentication),
        "sequence": event.sequence,
        "hash": event.hash,
    }


def _authentication(how: Authentication | None) -> list[tuple[str, str]]:
    """Return the authentication of a person as names and texts; a claim that the token lacks is marked as such."""
    if how is None:
        return []
    unsaid = "not said by the provider"
    return [
        ("Identity provider", how.issuer),
        ("Names in the token", listed([f"{name} {text}" for name, text in how.names.items()]) or unsaid),
        ("Group that gave the right", how.group or "none"),
        ("Groups read (iat)", iso(how.issued_at) if how.issued_at else unsaid),
        ("Credentials entered (auth_time)", iso(how.auth_time) if how.auth_time else unsaid),
        ("Context (acr)", how.acr or unsaid),
        ("Methods (amr)", listed(list(how.amr)) or unsaid),
    ]
