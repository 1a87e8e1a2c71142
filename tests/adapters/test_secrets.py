"""The signing secrets: kept for five minutes, and read again for a signature that no kept key made."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from promotion.aws.keys import SECRET_LIFETIME_S, SECRET_REREAD_S, Secrets
from promotion.domain.people import Person
from promotion.errors import LinkInvalid
from promotion.links.session import Session
from promotion.links.tokens import Keyring
from tests.fakes import as_client

ARN, OTHER = "arn:of-links", "arn:of-forms"
OLD, NEW = "the key that signed until now, long enough", "the key that signs from now on, long enough"


class SecretsManager:
    """Secrets Manager in as far as keys are read from it; `reads` has the secret of every read."""

    def __init__(self) -> None:
        self.versions = {ARN: [OLD], OTHER: [OLD]}
        self.reads: list[str] = []

    def rotate(self, arn: str, key: str) -> None:
        self.versions[arn].append(key)

    def get_secret_value(self, *, SecretId: str, VersionStage: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.reads.append(SecretId)
        versions = self.versions[SecretId]
        if VersionStage == "AWSPREVIOUS" and len(versions) < 2:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetSecretValue")
        return {"SecretString": json.dumps({"key": versions[-1 if VersionStage == "AWSCURRENT" else -2]})}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_function() -> tuple[SecretsManager, Clock, Secrets]:
    manager, clock = SecretsManager(), Clock()
    return manager, clock, Secrets(as_client(manager), clock)


def takes(keyring: Keyring, key: str) -> bool:
    token = Keyring([key]).approval_token("summariser:1:dev:1")
    try:
        return keyring.request_of(token) == "summariser:1:dev:1"
    except LinkInvalid:
        return False


def test_a_rotation_right_after_the_first_read_is_seen_at_once() -> None:
    manager, _, secrets = a_function()
    keyring = secrets.keyring(ARN)
    manager.rotate(ARN, NEW)
    assert takes(keyring, NEW)
    assert takes(keyring, OLD)


def test_forged_things_make_it_read_the_secret_every_fifteen_seconds_at_most() -> None:
    manager, clock, secrets = a_function()
    keyring = secrets.keyring(ARN)
    before = len(manager.reads)
    for forged in range(100):
        assert not takes(keyring, f"a key of somebody else, the {forged}th of many")
    # The current version and the one before it, once.
    assert len(manager.reads) == before + 2
    manager.rotate(ARN, NEW)
    assert not takes(keyring, NEW)
    clock.now += SECRET_REREAD_S
    assert takes(keyring, NEW)


def test_a_text_without_a_signature_is_no_reason_to_read_the_secret() -> None:
    manager, _, secrets = a_function()
    keyring = secrets.keyring(ARN)
    before = len(manager.reads)
    session = Session(id="one", person=Person(subject="ann", name="Ann"), expires_at=datetime.now(UTC))
    assert keyring.form_kept("", now=datetime.now(UTC)) == {}
    assert not keyring.csrf_is_good(session, "")
    assert keyring.returns_to("c3RhdGU") is None
    assert len(manager.reads) == before


def test_reading_a_secret_again_leaves_the_others_kept() -> None:
    manager, _, secrets = a_function()
    keyring = secrets.keyring(ARN)
    secrets.keyring(OTHER)
    of_others = manager.reads.count(OTHER)
    manager.rotate(ARN, NEW)
    assert takes(keyring, NEW)
    secrets.keyring(OTHER)
    assert manager.reads.count(OTHER) == of_others


def test_a_kept_secret_is_read_again_after_five_minutes() -> None:
    manager, clock, secrets = a_function()
    secrets.keyring(ARN)
    before = len(manager.reads)
    secrets.keyring(ARN)
    assert len(manager.reads) == before
    clock.now += SECRET_LIFETIME_S
    secrets.keyring(ARN)
    # The current version, and the one before it.
    assert len(manager.reads) == before + 2
