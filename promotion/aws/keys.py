"""Keys: the KMS key that signs live records, and the secrets that sign links and sessions."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from promotion import names
from promotion.client.live_record import SIGNING_ALGORITHM
from promotion.client.signature import holds, public_keys
from promotion.config.signing_settings import FormerKey
from promotion.errors import Invalid
from promotion.links.tokens import Keyring

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

SECRET_LIFETIME_S = 300.0
SECRET_REREAD_S = 15.0


class KmsSigner:
    """Sign with an ECC_NIST_P256 key in KMS; the private key never leaves KMS."""

    def __init__(self, client: KMSClient, key_arn: str) -> None:
        self._client = client
        self.key_id = key_arn

    def sign(self, message: bytes) -> bytes:
        """Return a DER-encoded ECDSA signature; KMS hashes at most 4,096 bytes, so the digest is computed here."""
        import hashlib

        answer = self._client.sign(
            KeyId=self.key_id,
            Message=hashlib.sha256(message).digest(),
            MessageType="DIGEST",
            SigningAlgorithm=SIGNING_ALGORITHM,
        )
        return bytes(answer["Signature"])

    def public_key_pem(self) -> str:
        """Return the public key as PEM."""
        der = self._client.get_public_key(KeyId=self.key_id)["PublicKey"]
        body = base64.encodebytes(der).decode().replace("\n", "")
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def held_by(former: Sequence[FormerKey]) -> Callable[[bytes, str, datetime], bool]:
    """Return a check of signatures that a former key made while it was in force."""
    known = [(public_keys(each.public_key), each.until) for each in former]

    def held(message: bytes, signature: str, at: datetime) -> bool:
        return any(at <= until and holds(keys, message, signature) for keys, until in known)

    return held


class Secrets:
    """Secrets, cached for five minutes, so that a rotation takes effect without a new deployment."""

    def __init__(self, client: SecretsManagerClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[float, dict[str, object]]] = {}
        self._reread_at: dict[str, float] = {}

    def keyring(self, arn: str) -> Keyring:
        """Return the keys that sign links, sessions and forms; newest first.

        The secret is `{"keys": ["newest", "older"]}` or `{"key": "…"}`. Keys of the secret's previous version still
        verify, so that a rotation needs only a new value.

        Raises:
            Invalid: the secret has neither form.
        """
        return Keyring(self._signing_keys(arn), newer=lambda: self._fresh_signing_keys(arn))

    def _signing_keys(self, arn: str) -> list[str]:
        found = _keys(self._read(arn))
        with contextlib.suppress(Invalid):
            found += _keys(self._read(arn, "AWSPREVIOUS"))
        return list(dict.fromkeys(found))

    def _fresh_signing_keys(self, arn: str) -> list[str]:
        """Read the keys again, for a signature that no cached key made; at most every 15 seconds.

        Only these reads count towards the 15 seconds, because a rotation may follow directly after an ordinary read.
        """
        last = self._reread_at.get(arn)
        if last is not None and self._clock() - last < SECRET_REREAD_S:
            return []
        self._reread_at[arn] = self._clock()
        for stage in ("AWSCURRENT", "AWSPREVIOUS"):
            self._kept.pop((arn, stage), None)
        return self._signing_keys(arn)

    def client_secret(self, arn: str) -> str:
        """Return this service's client secret at the identity provider."""
        return str(self._read(arn).get("client_secret") or "")

    def _read(self, arn: str, stage: str = "AWSCURRENT") -> dict[str, object]:
        kept = self._kept.get((arn, stage))
        if kept and self._clock() - kept[0] < SECRET_LIFETIME_S:
            return kept[1]
        try:
            answer = self._client.get_secret_value(SecretId=arn, VersionStage=stage)
            document = dict(json.loads(answer["SecretString"]))
        except ClientError as error:
            # A secret that was never changed has no previous version.
            if stage == "AWSCURRENT" or error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            document = {}
        self._kept[arn, stage] = (self._clock(), document)
        return document


def _keys(document: Mapping[str, object]) -> list[str]:
    keys = document.get("keys") or [document.get("key")]
    if not isinstance(keys, list) or not all(isinstance(key, str) and len(key) >= 32 for key in keys):
        raise Invalid(names.LINK_KEYS_SECRET_ARN, "the secret needs `keys`, each of at least 32 characters.")
    return [str(key) for key in keys]
