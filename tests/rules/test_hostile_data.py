"""Hostile content of a parameter or an item leads to a named difference of its own group, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambdas.shared.http_request import Answered, HttpRequest
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.client.resolve import resolve
from promotion.domain.canonical_json import canonical
from promotion.domain.model import VersionState
from promotion.domain.people import SYSTEM
from promotion.errors import IntegrityError, Invalid
from promotion.ledger.append import checked_reason
from promotion.ledger.checkpoint import read_checkpoint
from promotion.ledger.decision_export import read as read_bundle
from promotion.ledger.events import Difference, chained, happened, head_after, signed
from promotion.ledger.fold import read_state
from promotion.ledger.payloads import PackageRemoved
from tests.fakes import GROUP, PREFIX, FakeService, as_client
from tests.memory import FakeS3

LIVE = f"{PREFIX}/{GROUP}/prod/live"
VERSION = f"{PREFIX}/{GROUP}/versions/1"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None, exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["sequence", "environment", "history", "signature", "state", "text", "hash", "key_id"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
TEXTS = JSON_VALUES.map(json.dumps) | st.text() | st.integers(1, 5000).map(lambda depth: "[" * depth)
HOSTILE = {
    "a lone surrogate": '{"environment": "prod", "a": "\\ud800", "signature": "x"}',
    "4,000 brackets": "[" * 4000,
    "closed brackets": "[" * 900 + "]" * 900,
    "5,000 digits": '{"sequence": ' + "9" * 5000 + "}",
    "an infinite number": '{"environment": "prod", "sequence": 1e999, "signature": "x"}',
    "a list": "[1]",
    "a null": "null",
}


@cache
def standing() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    assert fake.lines() == []
    return fake


def beside(name: str, value: str) -> list[str]:
    """The lines of a verification with one parameter in another's place."""
    fake = standing()
    kept = dict(fake.ssm.values)
    fake.ssm.values[name] = value
    try:
        return fake.lines()
    finally:
        fake.ssm.values = kept


@pytest.mark.parametrize("name", [LIVE, VERSION, f"{VERSION}/history/x", f"{PREFIX}/{GROUP}/x"])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_parameter_is_one_difference_that_names_it(name: str, value: str) -> None:
    [line] = beside(name, value)
    assert line.startswith("parameter ")
    assert name in line or VERSION in line


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_live_record_resolves_to_nothing(value: str) -> None:
    fake = FakeService()
    fake.ssm.values[LIVE] = value
    with pytest.raises(IntegrityError):
        resolve(GROUP, "prod", public_key=fake.signer.public_key, prefix=PREFIX, ssm=fake.ssm)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_parameter_of_no_group_is_named(value: str) -> None:
    name = f"{PREFIX}/zz/x"
    [found] = standing().verifier.unknown_groups([GROUP], {name: value})
    assert found.difference.line.startswith(f"parameter {name}: expected nothing")


def test_a_hostile_history_is_repaired() -> None:
    fake = FakeService()
    fake.promote(1)
    fake.project()
    fake.ssm.values[f"{VERSION}/history/x"] = "[1]"
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    assert fake.lines() == []


def test_a_line_moves_no_cursor_and_begins_no_second_line() -> None:
    hidden = "k\x1b[2J\x1b[H\nEverything is as the ledger says.\x9b8m\u202e\ud800"
    line = Difference(what="parameter", where=hidden, expected="nothing", found=hidden).line
    assert line.isprintable()
    line.encode()


@pytest.mark.parametrize("key", ["HEAD", "EVENT#0000000003", "ENV#prod", "VERSION#0000000001", "VERSION#x"])
@pytest.mark.parametrize("value", [b"{broken", b"[" * 4000, b'{"live_since":"yesterday"}', b"\xff", b"null"])
def test_a_broken_item_is_a_difference_of_the_ledger(key: str, value: bytes) -> None:
    fake = standing()
    kept = dict(fake.ledger.items)
    fake.ledger.items[GROUP, key] = value
    try:
        lines = fake.lines()
    finally:
        fake.ledger.items = kept
    assert lines
    assert all(line.startswith(f"ledger {GROUP}") for line in lines)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from([LIVE, VERSION, f"{VERSION}/history/0001", f"{PREFIX}/{GROUP}/x"]), value=TEXTS)
def test_nothing_but_a_named_difference_comes_of_any_parameter(name: str, value: str) -> None:
    lines = beside(name, value)
    # An empty page of history is what a repair leaves behind.
    assert len(lines) == (0 if name.endswith("0001") and value.strip() == "[]" else 1)
    assert all(line.isprintable() for line in lines)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(["HEAD", "EVENT#0000000002", "ENV#dev", "VERSION#0000000001"]), value=JSON_VALUES)
def test_nothing_but_a_named_difference_comes_of_any_item(key: str, value: Any) -> None:
    fake = standing()
    kept = dict(fake.ledger.items)
    fake.ledger.items[GROUP, key] = json.dumps(value).encode()
    try:
        lines = fake.lines()
    finally:
        fake.ledger.items = kept
    assert lines
    assert all(line.startswith("ledger ") and line.isprintable() for line in lines)


def test_a_record_before_the_least_sequence_is_refused() -> None:
    fake = standing()
    given: dict[str, Any] = {"public_key": fake.signer.public_key, "prefix": PREFIX, "ssm": fake.ssm}
    sequence = resolve(GROUP, "prod", **given).sequence
    assert resolve(GROUP, "prod", minimum_sequence=sequence, **given).sequence == sequence
    with pytest.raises(IntegrityError, match="an older one was put back"):
        resolve(GROUP, "prod", minimum_sequence=sequence + 1, **given)


@pytest.mark.parametrize("reason", ["\u200b\u2060\u202e", "\u200d\u200c", " \ufeff "])
def test_a_reason_of_invisible_characters_is_none(reason: str) -> None:
    with pytest.raises(Invalid, match="say why"):
        checked_reason(reason)


@pytest.mark.parametrize("reason", ["fine\x1b[2J", "a\x00b", "a\tb"])
def test_a_reason_with_control_characters_is_refused(reason: str) -> None:
    with pytest.raises(Invalid, match="control characters"):
        checked_reason(reason)


def test_a_json_key_that_is_there_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.PUBLIC_URL, "https://promotion.example.com")
    variables.cache_clear()

    def sent(body: str) -> HttpRequest:
        headers = {"content-type": "application/json", "accept": "application/json"}
        http = {"method": "POST"}
        return HttpRequest({"requestContext": {"http": http}, "rawPath": "/", "headers": headers, "body": body})

    assert sent('{"reason": "a"}').form() == {"reason": "a"}
    for body, why in (
        ('{"reason": "a", "reason": "b"}', "there twice"),
        *((text, "no JSON object") for text in ("[]", "1", '"a"')),
    ):
        with pytest.raises(Answered) as refused:
            sent(body).form()
        assert refused.value.response.status_code == 400
        assert why in str(refused.value.response.body)
    variables.cache_clear()


# A field that no reader knows is skipped, however deeply it is nested.
DEEP = '{"later": ' + "[" * 100_000


@pytest.mark.parametrize(
    "read",
    [
        lambda text: read_state(text, VersionState),
        lambda text: read_checkpoint(text.encode(), GROUP),
        lambda text: EvidenceBucket(as_client(_holding(text)), "evidence").folded_runs("key"),
    ],
)
def test_a_document_nested_without_end_is_none(read: Callable[[str], object]) -> None:
    assert read(DEEP) is None


def test_a_bundle_nested_without_end_is_no_bundle() -> None:
    with pytest.raises(Invalid, match="no bundle"):
        read_bundle(DEEP.encode())


def _holding(text: str) -> FakeS3:
    s3 = FakeS3()
    s3.objects["key"] = text.encode()
    return s3


def test_an_event_of_a_version_that_is_nowhere_is_a_difference_of_the_ledger() -> None:
    """As nobody but the service could append it: with a signature."""
    fake = FakeService()
    fake.register(1)
    head = fake.ledger.head(GROUP)
    made = chained(head, [happened(PackageRemoved(), SYSTEM, version=99)], time=fake.now, policy_digest="")
    [event] = signed(made, fake.signer.sign, fake.signer.key_id)
    fake.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
    fake.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))
    [found] = fake.verify()
    assert found.difference.line.startswith(f"ledger {GROUP}: expected events, states and parameters that can be read")
    assert (found.difference.found, found.repair) == (f"KeyError: '{GROUP} v99'", None)


def test_a_record_where_nothing_was_ever_live_is_told_and_removed() -> None:
    fake = FakeService()
    fake.register(1)
    fake.project()
    name = f"{PREFIX}/{GROUP}/dev/live"
    fake.ssm.values[name] = "{}"
    [found] = fake.verify()
    assert found.difference.line == (
        f"parameter {name}: expected nothing, for nothing was ever live there, found something that is no record"
    )
    assert found.repair is not None
    found.repair()
    assert name not in fake.ssm.values
