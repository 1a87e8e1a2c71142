"""`promotion export`, `attest` and `check-bundle`: write one decision or promotion to a file, and verify it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from promotion.cli.progress import Progress
from promotion.cli.tables import print_line
from promotion.client.envelope import opened
from promotion.client.resolve import find_public_key
from promotion.client.signature import holds, public_keys
from promotion.domain.model import Head
from promotion.errors import IntegrityError, Invalid
from promotion.ledger import attestation, decision_export
from promotion.ledger.chain import read_chain
from promotion.ledger.checked import LedgerReader, StoredHead
from promotion.ledger.events import Event, check_chain
from promotion.ledger.payloads import ModelPromoted
from promotion.rendering import record
from promotion.rendering.sentences import sentence


def export(group: str, request_id: str, output: str | None, *, as_html: bool) -> int:
    """Write the bundle of a request to a file or to standard output; with `as_html` as an HTML record."""
    head, events = _chain(group, "export")
    if not events or not request_id.startswith(f"{group}:"):
        raise Invalid("REQUEST_ID", f"{group} has no request {request_id}.")
    check_chain(events, head)
    found = decision_export.bundle(request_id, events)
    _give(record.write(found) if as_html else decision_export.write(found), output)
    return 0


def attest(group: str, version: int, environment: str, output: str | None, model_signature: str | None) -> int:
    """Write the attestation of a version's newest promotion into an environment, as the service stored it.

    `model_signature` is a file for the OpenSSF model signature of the first container's artifact.

    Raises:
        Invalid: the version was never promoted there, or no attestation is stored yet.
        IntegrityError: the stored attestation is not signed, or is of another event than the ledger's.
    """
    from promotion.aws.keys import KmsSigner
    from promotion.aws.s3.attestations import EvidenceBucket
    from promotion.cli.service import client, installation

    head, events = _chain(group, "attest")
    check_chain(events, head)
    place = f"{group} v{version} in {environment}"
    promotions = [
        event
        for event in events
        if isinstance(event.payload, ModelPromoted) and (event.version, event.environment) == (version, environment)
    ]
    if not promotions:
        raise Invalid("GROUP VERSION ENV", f"{place} was never promoted.")
    bucket = EvidenceBucket(client("s3"), installation()["evidence_bucket"])
    envelope = bucket.attestation(promotions[-1])
    if envelope is None:
        raise Invalid(
            "GROUP VERSION ENV", f"{place} has no attestation yet: `promotion rebuild {group}` has it written."
        )
    present = KmsSigner(client("kms"), installation()["signing_key_arn"]).public_key_pem()
    keys = public_keys("".join([present, *_former_keys()]))
    found = attestation.read_predicate(opened(envelope, lambda message, signature: holds(keys, message, signature)))
    if found.ledger.hash != promotions[-1].hash:
        raise IntegrityError(f"the attestation of {place} is of another event than the ledger's.")
    if model_signature is not None:
        signature = bucket.model_signature(promotions[-1], 0)
        if signature is None:
            raise Invalid("--model-signature", f"{place} has none: the members of its artifact aren't known.")
        Path(model_signature).write_text(json.dumps(signature) + "\n", encoding="utf-8")
        print(f"{model_signature}: check the unpacked folder with the package model-signing, by the public key.")
    _give(json.dumps(envelope, indent=1).encode() + b"\n", output)
    return 0


def _chain(group: str, command: str) -> tuple[Head, list[Event]]:
    """Return the group's head and all of its events, and show the progress of reading them."""
    from promotion.cli.service import ledger

    with Progress(command) as progress:
        return read_chain(_Followed(ledger(), progress), group)


class _Followed:
    """A ledger that reports each read event to a Progress."""

    def __init__(self, book: LedgerReader, progress: Progress) -> None:
        self._book = book
        self._progress = progress

    def stored_head(self, group: str) -> StoredHead:
        return self._book.stored_head(group)

    def events(self, group: str, *, after: int = 0) -> Iterator[Event]:
        return self._progress.counting(self._book.events(group, after=after), "events read")

    def stored_states(self, group: str) -> tuple[dict[str, str], dict[int, str]]:
        return self._book.stored_states(group)


def _former_keys() -> list[str]:
    """Return the public keys of former signing keys from the configuration; none if there is no promotion.toml."""
    from promotion.cli.service import config

    try:
        return [former.public_key for former in config().signing.former]
    except Invalid:
        return []


def _give(document: bytes, output: str | None) -> None:
    if output is None:
        sys.stdout.write(document.decode())
        return
    Path(output).write_bytes(document)
    print(f"{output}: check it with `promotion check-bundle {output} --public-key promotion.pub`")


def check_bundle(path: str, public_key: str | None) -> int:
    """Verify a bundle, or an attestation, with only the public key.

    Raises:
        IntegrityError: a signature or a hash doesn't fit the content.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise Invalid("FILE", f"{path} can't be read: {error.strerror}.") from None
    keys = public_keys(public_key or find_public_key())

    def signed(message: bytes, signature: str) -> bool:
        return holds(keys, message, signature)

    if (envelope := _envelope(text)) is not None:
        return _print_attestation(envelope, signed)
    is_record = record.is_record(text)
    found = record.read(text) if is_record else decision_export.read(text)
    wrong = decision_export.problems(found, signed)
    if not wrong and is_record:
        wrong = record.problems(text, found)
    if wrong:
        raise IntegrityError("; ".join(wrong))
    request = decision_export.request_of(found)
    events = found.read_events()
    last = events[-1]
    print_line(f"{found.request_id} is as it was recorded: {request.state.lower()}.")
    for event in events:
        if event.version == request.version:
            print_line(f"{event.sequence:>5}  {event.time:%Y-%m-%d %H:%M:%S}  {sentence(event)}")
    print(f"Signed up to event {last.sequence} ({last.hash[:12]}), under the policy {last.policy_digest[:12]}.")
    return 0


def _envelope(text: bytes) -> dict[str, object] | None:
    """Return the DSSE envelope in a file; None if it contains something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "payloadType" in found else None


def _print_attestation(envelope: dict[str, object], signed: Callable[[bytes, str], bool]) -> int:
    statement = opened(envelope, signed)
    found = attestation.read_predicate(statement)
    package = found.package
    print_line(
        f"{package.group} v{package.version} was promoted into {found.environment} at {found.promoted_at:%Y-%m-%d %H:%M:%S} UTC."
    )
    for each in found.approvals:
        print_line(f"  approved by {each.by.name or each.by.subject} at {each.at:%Y-%m-%d %H:%M:%S}: {each.reason}")
    for subject in statement.get("subject", []):
        print_line(f"  {subject['digest']['sha256']}  {subject['name']}")
    print(
        f"Signed; event {found.ledger.sequence} ({found.ledger.hash[:12]}), under the policy {found.policy_digest[:12]}."
    )
    return 0
