"""`promotion export` and `check-bundle`: one decision, taken out of the house and checked there."""

from __future__ import annotations

import sys
from pathlib import Path

from promotion.client.resolve import find_public_key
from promotion.client.signature import holds, public_keys
from promotion.errors import IntegrityError, Invalid
from promotion.ledger import decision_export
from promotion.ledger.events import check_chain
from promotion.rendering.sentences import sentence


def export(group: str, request_id: str, output: str | None) -> int:
    """Write the bundle of a request to a file, or to standard output."""
    from promotion.cli.service import ledger
    from promotion.ledger.verify import read_chain

    head, events = read_chain(ledger(), group)
    if not events or not request_id.startswith(f"{group}:"):
        raise Invalid("REQUEST_ID", f"{group} has no request {request_id}.")
    check_chain(events, head)
    document = decision_export.write(decision_export.bundle(request_id, events))
    if output is None:
        sys.stdout.write(document.decode())
    else:
        Path(output).write_bytes(document)
        print(f"{output}: check it with `promotion check-bundle {output} --public-key promotion.pub`")
    return 0


def check_bundle(path: str, public_key: str | None) -> int:
    """Check a bundle with the public key alone.

    Raises:
        IntegrityError: it doesn't prove what it says.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise Invalid("FILE", f"{path} can't be read: {error.strerror}.") from None
    found = decision_export.read(text)
    keys = public_keys(public_key or find_public_key())
    wrong = decision_export.problems(found, lambda message, signature: holds(keys, message, signature))
    if wrong:
        raise IntegrityError("; ".join(wrong))
    request = decision_export.request_of(found)
    events = found.read_events()
    last = events[-1]
    print(f"{found.request_id} is as it was recorded: {request.state.lower()}.")
    for event in events:
        if event.version == request.version:
            print(f"{event.sequence:>5}  {event.time:%Y-%m-%d %H:%M:%S}  {sentence(event)}")
    print(f"Signed up to event {last.sequence} ({last.hash[:12]}), under the policy {last.policy_digest[:12]}.")
    return 0
