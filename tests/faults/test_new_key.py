"""The signing key is replaced: the old one signs the change once, and what it signed is verified by the configuration."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from lambdas.shared.appending import signing
from lambdas.shared.dependencies import ledger, signer
from promotion import names
from promotion.ledger.payloads import SigningKeyChanged
from tests.fakes import GROUP
from tests.faults.resources import forget
from tests.faults.simulation import Simulation

FORMER = '\n[[advanced.signing.former]]\nkey_id = "{key}"\nuntil = {until}\npublic_key = """\n{pem}"""\n'


@pytest.mark.parametrize("lost", [False, True])
def test_a_new_signing_key_takes_over_also_if_the_old_one_is_lost(service: Simulation, lost: bool) -> None:
    service.register()
    service.settle()
    service.promote(1, "dev")
    with service.without_faults():
        old, pem = signer().key_id, signer().public_key_pem()
        kms = boto3.client("kms")
        new = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    os.environ[names.SIGNING_KEY_ARN] = new
    config = Path(os.environ["LAMBDA_TASK_ROOT"]) / names.CONFIG_FILE
    former = FORMER.format(key=old, pem=pem, until=datetime.now(UTC).isoformat())
    config.write_text(config.read_text(encoding="utf-8") + former, encoding="utf-8")
    forget()
    if lost:
        service.fails_if = lambda call, given: call == "kms:Sign" and given["KeyId"] == old
    service.register()
    service.settle()
    assert service.decide(2, "dev") == 303
    service.settle()
    with service.without_faults():
        [change] = [event.payload for event in ledger().events(GROUP) if isinstance(event.payload, SigningKeyChanged)]
    assert set(change.signatures) == ({new} if lost else {old, new})
    assert service.differences() == []
    assert f"/models/{GROUP}/versions/2" in service.open(f"/models/{GROUP}")


def test_a_key_that_the_configuration_does_not_name_signs_nothing(service: Simulation) -> None:
    """A former key is used for the one signature of its succession, and only if the team named it."""
    with service.without_faults():
        context, own = signing(), signer().key_id
        assert context.sign is not None
        before = service.calls.count("kms:Sign")
    assert context.sign_formerly(own, b"text") is None
    assert service.calls.count("kms:Sign") == before
