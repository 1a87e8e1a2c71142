"""`[advanced.identity] backchannel_logout`: a table of ended sessions, which three functions read and one writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.grants import SESSION_READERS
from promotion import names
from tests.infra.simulation import allowed
from tests.infra.synthesized import Template, synthesize

CONFIG = Path(__file__).parent / "promotion.toml"
WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem")


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("listening")
    config = folder / "promotion.toml"
    text = CONFIG.read_text(encoding="utf-8")
    config.write_text(f"{text}\n[advanced.identity]\nbackchannel_logout = true\n", encoding="utf-8")
    return synthesize(config, folder)


def test_there_is_no_table_unless_the_provider_may_end_sessions(template: Template) -> None:
    assert not [name for name in template.resources if "EndedSessions" in name]


def test_items_expire_and_are_deleted_with_the_stack(listening: Template) -> None:
    name, table = listening.the("AWS::DynamoDB::Table", "StoreEndedSessions")
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["SSESpecification"]["SSEEnabled"] is True
    assert listening.resources[name]["DeletionPolicy"] == "Delete"


def test_readers_of_sessions_may_read_it_and_only_sign_in_may_write(listening: Template) -> None:
    table = f"<{listening.the('AWS::DynamoDB::Table', 'StoreEndedSessions')[0]}.Arn>"
    roles = listening.of_type("AWS::IAM::Role")
    readers = {role for role in roles if allowed(listening.statements(role), "dynamodb:GetItem", table)}
    writers = {
        role
        for role in roles
        if any(allowed(listening.statements(role), f"dynamodb:{action}", table) for action in WRITES)
    }
    assert readers == {listening.role_of(module) for module in SESSION_READERS}
    assert writers == {listening.role_of("sign_in")}
    for module in SESSION_READERS:
        assert names.ENDED_SESSIONS_TABLE in listening.function(module)[1]["Environment"]["Variables"]


def test_sign_in_still_has_no_business_with_the_ledger(listening: Template) -> None:
    ledger = f"<{listening.the('AWS::DynamoDB::Table', 'StoreLedger')[0]}.Arn>"
    statements = listening.statements(listening.role_of("sign_in"))
    assert not any(allowed(statements, f"dynamodb:{action}", ledger) for action in ("GetItem", "Query", *WRITES))
