"""The live record: signed, parsed with suspicion, refused whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.client.live_record import live_model, parse_live, signed_bytes
from promotion.errors import IntegrityError, NotApproved
from tests.fakes import GROUP, PREFIX, House

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture(scope="module")
def value() -> str:
    house = House()
    house.climb(1)
    house.project()
    return house.ssm.values[f"{PREFIX}/{GROUP}/prod/live"]


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
def test_whatever_stands_in_the_parameter_is_a_record_or_refused(found: Any) -> None:
    with pytest.raises(IntegrityError):
        parse_live(json.dumps(found), group=GROUP, environment="prod")


@given(st.text())
def test_whatever_is_no_json_is_refused(text: str) -> None:
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
    house = House()
    house.climb(1)
    house.revoke(1)
    house.project()
    record = parse_live(house.ssm.values[f"{PREFIX}/{GROUP}/prod/live"], group=GROUP, environment="prod")
    assert record["revoked"] is True
    assert "model_package_version" not in record
    assert house.signer.holds(signed_bytes(record), record["signature"])
    with pytest.raises(NotApproved, match="was revoked"):
        live_model(record)
