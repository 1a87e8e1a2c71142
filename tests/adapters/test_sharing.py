"""Letting the environments' accounts read a group is the last step of a registration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import on_model_registered
from promotion import names
from tests.fakes import CONFIG, a_package, a_registration


def test_a_group_that_cannot_be_shared_keeps_no_bypass_from_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its policy may be full of others' statements, or an account's role gone: the event is tried again, and fails again."""
    recorded: list[Any] = []

    def refuse(*_: object) -> None:
        raise ClientError({"Error": {"Code": "ValidationException", "Message": "invalid principal"}}, "PutPolicy")

    receipt = SimpleNamespace(sequence=7, note="")

    def record_bypass(description: dict[str, Any]) -> SimpleNamespace:
        recorded.append(description)
        return receipt

    replaced: dict[str, Any] = {
        "config": lambda: CONFIG,
        "client": lambda service: None,
        "variables": lambda: SimpleNamespace(evidence_bucket="evidence"),
        "describe": lambda *_: (a_package(1), {"ModelApprovalStatus": names.APPROVED}),
        "_is_older": lambda package: False,
        "with_digests": lambda package, **_: package,
        "registered_evidence": lambda *_: a_registration(),
        "recorder": lambda: SimpleNamespace(record=lambda command: receipt),
        "execution_roles": lambda: ["arn:aws:iam::111111111111:role/execution"],
        "share_group": refuse,
        "record_bypass": record_bypass,
    }
    for name, instead in replaced.items():
        monkeypatch.setattr(on_model_registered, name, instead)
    with pytest.raises(ClientError, match="invalid principal"):
        on_model_registered.register(a_package(1).arn)
    assert recorded == [{"ModelApprovalStatus": names.APPROVED}]
