"""The live record: signed, parsed with suspicion, refused whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.client.live_record import live_model, parse_live, signed_bytes
from promotion.errors import IntegrityError, NotApproved
from tests.fakes import GROUP, PREFIX, FakeService

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture(scope="module")
def value() -> str:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    return fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"]


def test_a_record_names_its_model(value: str) -> None:
    model = live_model(parse_live(value, group=GROUP, environment="prod"))
    assert (model.model_package_version, model.approved_by) == (1, ("ann", "cho"))
    assert (model.approval_id, model.containers[0].sha256) == (f"{GROUP}:1:prod:1", "01" * 32)


def test_the_contract_names_every_field(value: str) -> None:
    assert set(json.loads(value)) == {
        "schema", "model_package_group", "model_package_version", "model_package_arn", "environment", "containers",
        "content_types", "approved_by", "approved_at", "approval_id", "sequence", "key_id", "signature",
    }  # fmt: skip
    assert set(json.loads(value)["containers"][0]) == {
        "image", "image_digest", "model_data_url", "model_data_version_id", "sha256", "manifest_sha256", "environment",
    }  # fmt: skip


def test_the_signature_is_over_canonical_json_without_itself(value: str) -> None:
    record = json.loads(value)
    assert signed_bytes(record) == signed_bytes({**dict(reversed(record.items())), "signature": "other"})
    assert b'"signature"' not in signed_bytes(record)
    assert signed_bytes({"b": 1, "a": "ä"}) == '{"a":"ä","b":1}'.encode()


@given(JSON_VALUES)
def test_any_value_of_the_parameter_is_a_record_or_refused(found: Any) -> None:
    with pytest.raises(IntegrityError):
        parse_live(json.dumps(found), group=GROUP, environment="prod")


@given(st.text())
def test_any_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_live("{" + text, group=GROUP, environment="prod")


@pytest.mark.parametrize("field", ["model_package_group", "environment", "key_id", "signature", "sequence", "schema"])
def test_a_record_without_a_field_is_refused(value: str, field: str) -> None:
    record = json.loads(value)
    del record[field]
    with pytest.raises(IntegrityError):
        parse_live(json.dumps(record), group=GROUP, environment="prod")


@pytest.mark.parametrize(
    "field", ["model_package_version", "containers", "approved_by", "content_types", "approval_id"]
)
def test_a_model_without_a_field_is_refused(value: str, field: str) -> None:
    record = json.loads(value)
    del record[field]
    with pytest.raises(IntegrityError, match=field):
        live_model(record)


def test_the_record_of_another_place_is_refused(value: str) -> None:
    with pytest.raises(IntegrityError, match=f"holds the record of {GROUP} in prod"):
        parse_live(value, group=GROUP, environment="dev")
    with pytest.raises(IntegrityError):
        parse_live(value, group="other", environment="prod")


def test_a_revocation_with_nothing_behind_it_is_a_signed_record_too() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.revoke(1)
    fake.project()
    record = parse_live(fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"], group=GROUP, environment="prod")
    assert record["revoked"] is True
    assert "model_package_version" not in record
    assert fake.signer.holds(signed_bytes(record), record["signature"])
    with pytest.raises(NotApproved, match="was revoked"):
        live_model(record)


def with_fields(fake: FakeService, value: str, **fields: Any) -> str:
    """The record as the service would sign it with other fields in it."""
    record = {**json.loads(value), **fields}
    return json.dumps({**record, "signature": fake.signer.sign_text(signed_bytes(record))})


@pytest.fixture(scope="module")
def signed(value: str) -> tuple[FakeService, str]:
    fake = FakeService()
    return fake, with_fields(fake, value)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_record_of_the_next_release_is_read_with_its_unknown_fields(
    signed: tuple[FakeService, str], schema: int
) -> None:
    fake, value = signed
    found = parse_live(with_fields(fake, value, schema=schema, region="eu-west-1"), group=GROUP, environment="prod")
    assert found["region"] == live_model(found).record["region"] == "eu-west-1"
    assert fake.signer.holds(signed_bytes(found), found["signature"])
    assert not fake.signer.holds(signed_bytes({**found, "region": "us-east-1"}), found["signature"])


@pytest.mark.parametrize("schema", [0, 3, -1, True, "1", 1.0])
def test_a_record_of_a_schema_further_away_is_refused(signed: tuple[FakeService, str], schema: Any) -> None:
    with pytest.raises(IntegrityError, match="no record of schema 1 to 2"):
        parse_live(with_fields(*signed, schema=schema), group=GROUP, environment="prod")


@pytest.mark.parametrize("must", [["shared_artifact"], "shared_artifact", [1], {}])
def test_a_record_that_must_be_understood_and_is_not_is_refused(signed: tuple[FakeService, str], must: Any) -> None:
    with pytest.raises(IntegrityError, match="install a newer release"):
        parse_live(with_fields(*signed, must_understand=must), group=GROUP, environment="prod")


def test_a_record_that_asks_for_nothing_new_is_read(signed: tuple[FakeService, str]) -> None:
    assert (
        parse_live(with_fields(*signed, must_understand=[]), group=GROUP, environment="prod")["must_understand"] == []
    )


def test_a_record_that_names_a_field_twice_is_refused(value: str) -> None:
    with pytest.raises(IntegrityError, match="names a field twice"):
        parse_live(value.replace("{", '{"sequence":1,', 1), group=GROUP, environment="prod")
