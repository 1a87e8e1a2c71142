"""DSSE envelopes (https://github.com/secure-systems-lab/dsse): a payload with a signature over its type and bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from promotion.client.live_record import read_json
from promotion.errors import IntegrityError

IN_TOTO = "application/vnd.in-toto+json"


def signed_text(payload: bytes) -> bytes:
    """Return the bytes that the DSSE signature of a statement covers (PAE, the pre-authentication encoding)."""
    kind = IN_TOTO.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(statement: Mapping[str, object], sign: Callable[[bytes], bytes], key_id: str) -> dict[str, Any]:
    """Return an in-toto statement in an envelope with one signature (DER, base64)."""
    payload = json.dumps(statement, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    signature = base64.b64encode(sign(signed_text(payload))).decode()
    return {
        "payloadType": IN_TOTO,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key_id, "sig": signature}],
    }


def bundle(envelope: Mapping[str, object], public_key_pem: str) -> dict[str, Any]:
    """Return an envelope in a Sigstore bundle, for verification with a public key (the file `model.sig`)."""
    hint = hashlib.sha256(public_key_pem.encode()).hexdigest()
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }


def opened(envelope: Any, holds: Callable[[bytes, str], bool]) -> dict[str, Any]:
    """Return the in-toto statement of an envelope that one of the keys behind `holds` has signed.

    Args:
        envelope: The envelope as decoded from JSON.
        holds: Returns True if a base64 signature over a message is one of a trusted key.

    Raises:
        IntegrityError: It is no such envelope, or no signature holds.
    """
    try:
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        signatures = [str(each["sig"]) for each in envelope["signatures"]]
        if kind != IN_TOTO:
            raise IntegrityError("this is no attestation: its payload is no in-toto statement.")
    except (TypeError, KeyError, binascii.Error, ValueError):
        raise IntegrityError("this is no attestation: it is no DSSE envelope.") from None
    message = signed_text(payload)
    if not any(holds(message, signature) for signature in signatures):
        raise IntegrityError("the attestation's signature doesn't hold: it is not of this key, or was altered.")
    try:
        statement = read_json(payload.decode())
    except ValueError:
        statement = None
    if not isinstance(statement, dict):
        raise IntegrityError("this is no attestation: its payload is no JSON object.")
    return statement
