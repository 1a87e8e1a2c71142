"""Electronic signatures: the meaning of a signature on a decision, and its record.

21 CFR 11.50 wants the printed name of the signer, the time, and the meaning of the signature; docs/signatures.md has the rest.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from promotion import names
from promotion.config.settings import Decision, Environment
from promotion.domain.people import Person
from promotion.formatting import iso, one_line


class Signature(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recorded signature: signer, role, meaning, time, and the digest of the reviewed information."""

    name: str
    role: str
    meaning: str
    signed_at: str
    shown_sha256: str


def meaning(verdict: names.Verdict, group: str, version: int, environment: str) -> str:
    """Declaration that the signer makes."""
    if verdict == names.APPROVED:
        return f"I approve {group} version {version} for use in {environment}, having reviewed the evidence."
    return f"I reject {group} version {version} for use in {environment}, having reviewed the evidence."


def required_of(rules: Environment) -> Decision:
    """Sign-in that a decision requires; for each signature, the credentials are entered again once it was sent."""
    return replace(rules.decision, reauthenticate=True, fresh_within="0s") if rules.signature else rules.decision


def signature(
    person: Person, verdict: names.Verdict, rules: Environment, *, group: str, version: int, shown: str, now: datetime
) -> Signature:
    """Signature recorded with a decision; `shown` is the digest of what the signer was shown."""
    return Signature(
        name=one_line(person.name, 120),
        role=rules.approver_group.label,
        meaning=meaning(verdict, group, version, rules.name),
        signed_at=iso(now),
        shown_sha256=shown,
    )
