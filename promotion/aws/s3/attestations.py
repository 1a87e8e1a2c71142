"""Attestations and manifests in the evidence bucket: written once, and read for verification."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from botocore.exceptions import ClientError

from promotion import names
from promotion.client.artifact import Manifest
from promotion.client.envelope import bundle, seal
from promotion.domain.model import Container, VersionState
from promotion.ledger.attestation import model_statement, object_key, signature_key, statement
from promotion.ledger.decision_export import folded
from promotion.ledger.events import Event
from promotion.ledger.folded_runs import RunsObject
from promotion.ledger.payloads import ModelPromoted
from promotion.ledger.snapshot import GroupSnapshot

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = ("NoSuchKey", "404", "NotFound")


class Signer(Protocol):
    """A signer of attestations."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """Return a DER-encoded ECDSA signature on P-256 with SHA-256."""

    def public_key_pem(self) -> str:
        """Return the public key as PEM."""


class EvidenceBucket:
    """Manifests by their digest, and the attestation of each promotion."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def keep_manifest(self, manifest: Manifest) -> None:
        """Write the list of an artifact's members, named by the SHA-256 of the list."""
        self._client.put_object(
            Bucket=self._bucket, Key=f"{names.MANIFESTS}/{manifest.sha256}.json", Body=manifest.canonical()
        )

    def members(self, container: Container) -> list[dict[str, object]]:
        """Return the files of a container's artifact; empty if there is no manifest, or it is not the approved one."""
        body = self.text(f"{names.MANIFESTS}/{container.manifest_sha256}.json")
        if body is None or hashlib.sha256(body).hexdigest() != container.manifest_sha256:
            return []
        return list(json.loads(body))

    def attestation(self, event: Event) -> dict[str, object] | None:
        """Return a promotion's attestation (a DSSE envelope); None if none was written."""
        return self._document(object_key(event))

    def model_signature(self, event: Event, container: int) -> dict[str, Any] | None:
        """Return the model signature of a container of a promoted version; None if none was written."""
        return self._document(signature_key(event, container))

    def folded_runs(self, key: str) -> RunsObject | None:
        """Return an object with the events of folded runs; None if there is none, or it can't be read."""
        body = self.text(key)
        try:
            return None if body is None else msgspec.json.decode(body, type=RunsObject)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None

    def put(self, key: str, document: dict[str, object], *, once: bool) -> None:
        """Write a document; with `once` only if it doesn't exist."""
        if once:
            self.put_once(key, document)
            return
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=json.dumps(document).encode(), ContentType="application/json"
        )

    def put_once(self, key: str, document: dict[str, object]) -> None:
        """Write a document unless it exists."""
        self.put_text_once(key, json.dumps(document).encode())

    def put_text_once(self, key: str, text: bytes) -> None:
        """Write JSON text unchanged, unless the object exists."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=text, ContentType="application/json", IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise

    def _document(self, key: str) -> dict[str, object] | None:
        body = self.text(key)
        return None if body is None else dict(json.loads(body))

    def text(self, key: str) -> bytes | None:
        """Return an object's text; None if there is none."""
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise


class AttestationTarget:
    """Write an attestation and the model signatures of each promotion, beside the evidence."""

    one_by_one = False

    def __init__(self, bucket: EvidenceBucket, signer: Signer, history: Callable[[str], Iterable[Event]]) -> None:
        self._bucket = bucket
        self._signer = signer
        self._history = history

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.payload, ModelPromoted) and event.version is not None:
                self._attest(view, event, event.version)

    def _attest(self, view: GroupSnapshot, event: Event, version: int) -> None:
        # The attestation is written last, so that if it exists, the signatures exist too.
        if self._bucket.text(object_key(event)) is not None:
            return
        state = self._as_of(event, view.version(version))
        members = [self._bucket.members(container) for container in state.package.containers]
        for number, container in enumerate(state.package.containers):
            if members[number]:
                envelope = self._sealed(model_statement(container, members[number]))
                self._bucket.put_once(signature_key(event, number), bundle(envelope, self._signer.public_key_pem()))
        self._bucket.put_once(object_key(event), self._sealed(statement(state, event, members)))

    def _as_of(self, event: Event, state: VersionState) -> VersionState:
        """Return the version as of a promotion; folded from the events if approval was requested again since."""
        request, promoted = state.requests.get(event.environment or ""), event.payload
        if isinstance(promoted, ModelPromoted) and request is not None and request.id == promoted.request_id:
            return state
        until = (each for each in self._history(event.group) if each.sequence <= event.sequence)
        return folded(until, state.version).version(state.version)

    def _sealed(self, about: dict[str, object]) -> dict[str, object]:
        return seal(about, self._signer.sign, self._signer.key_id)
