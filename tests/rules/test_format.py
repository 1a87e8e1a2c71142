"""The ledger's format: what is stored is what is hashed, and releases before and after this one can live with it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from promotion import names
from promotion.client.live_record import signed_bytes
from promotion.config import settings
from promotion.config.recorded import without_defaults
from promotion.domain.canonical_json import canonical
from promotion.domain.model import FOLD_VERSION, SCHEMA, EnvironmentState, VersionState
from promotion.errors import IntegrityError
from promotion.ledger.events import StoredEvent, read_event
from promotion.ledger.parameter_documents import dump
from tests.fakes import CONFIG, GROUP, PREFIX, FakeService

VERSION, ENVIRONMENT = (GROUP, "VERSION#0000000001"), (GROUP, "ENV#prod")


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1)
    fake.promote(2)
    fake.project()
    assert fake.lines() == []
    return fake


def test_a_hash_is_over_the_text_as_it_is_stored(fake: FakeService) -> None:
    for key, item in fake.ledger.items.items():
        if key[1].startswith("EVENT#"):
            stored = msgspec.json.decode(item, type=StoredEvent)
            assert stored.hash == hashlib.sha256(stored.text.encode()).hexdigest()
            assert stored.text == canonical(msgspec.json.decode(stored.text)).decode(), "canonical JSON"


def test_everything_that_is_stored_has_a_schema(fake: FakeService) -> None:
    for key, item in fake.ledger.items.items():
        document = msgspec.json.decode(item)
        content = msgspec.json.decode(document["text"]) if key[1].startswith("EVENT#") else document
        assert content["schema"] == SCHEMA, key
        assert key[1].startswith(("EVENT#", "HEAD")) or content["fold"] == FOLD_VERSION


def with_text(fake: FakeService, at: int, **changes: Any) -> None:
    """An event as another release would have written it: its own text, hashed."""
    key = (GROUP, f"EVENT#{at:010d}")
    text = canonical({**msgspec.json.decode(fake.events()[at - 1].text), **changes}).decode()
    fake.ledger.items[key] = canonical(StoredEvent(text=text, hash=hashlib.sha256(text.encode()).hexdigest()))


def test_fields_of_a_later_release_stay_in_the_text_and_under_the_hash(fake: FakeService) -> None:
    with_text(fake, 1, schema=SCHEMA + 1, tenant="blue")
    event = fake.events()[0]
    assert '"tenant":"blue"' in event.text
    assert event.computed_hash() == event.hash


@pytest.mark.parametrize(("changes", "said"), [
    ({"schema": SCHEMA + 2}, f"has schema {SCHEMA + 2}"),
    ({"schema": 0}, "has schema 0"),
    ({"must_understand": ["sealed_votes"]}, "knows sealed_votes"),
    ({"sequence": "one"}, "can't be read"),
])  # fmt: skip
def test_an_event_that_this_release_cannot_follow_stops_its_group_and_says_why(
    fake: FakeService, changes: dict[str, Any], said: str
) -> None:
    with_text(fake, 1, **changes)
    with pytest.raises(IntegrityError, match=said):
        fake.events()
    [line] = fake.lines()
    assert line.startswith(f"ledger {GROUP}: expected events that can be read")
    assert said in line


def test_an_event_that_needs_nothing_new_is_read() -> None:
    fake = FakeService()
    fake.register(1)
    text = canonical({**msgspec.json.decode(fake.events()[0].text), "must_understand": []}).decode()
    assert read_event(StoredEvent(text=text, hash="")).must_understand == ()


def refold(fake: FakeService, key: tuple[str, str], **changes: Any) -> None:
    """A state as a release with another fold would have left it."""
    fake.ledger.items[key] = canonical({**msgspec.json.decode(fake.ledger.items[key]), "fold": 7, **changes})


@pytest.mark.parametrize("fold", [0, FOLD_VERSION + 1, 99])
def test_a_state_of_another_fold_is_no_tampering_and_is_folded_again(fake: FakeService, fold: int) -> None:
    before = fake.view().environment("prod")
    refold(fake, ENVIRONMENT, fold=fold, live=7, added="by a later release")
    refold(fake, VERSION, fold=fold, statuses={"prod": "Shadow"})
    assert fake.lines() == []
    assert fake.view().environment("prod") == before
    assert fake.view().version(1).statuses["prod"] == names.SUPERSEDED


def test_the_next_append_writes_the_states_as_this_release_folds_them(fake: FakeService) -> None:
    for name in ("dev", "test", "prod"):
        refold(fake, (GROUP, f"ENV#{name}"))
    refold(fake, VERSION)
    fake.roll_back("prod")
    stored = {key[1]: msgspec.json.decode(item).get("fold") for key, item in fake.ledger.items.items()}
    assert {stored[f"ENV#{name}"] for name in ("dev", "test", "prod")} == {FOLD_VERSION}
    assert stored["VERSION#0000000001"] == FOLD_VERSION
    assert fake.live("prod") == 1


def test_a_state_that_cannot_be_read_is_told_and_does_not_stop_the_group(fake: FakeService) -> None:
    fake.ledger.items[ENVIRONMENT] = b'{"live_since":"yesterday"}'
    assert fake.live("prod") == 2
    [line] = fake.lines()
    assert line.startswith(f"ledger {GROUP} state of prod: expected a state that can be read, found ")


def test_a_state_of_this_fold_is_still_held_against_the_events(fake: FakeService) -> None:
    refold(fake, ENVIRONMENT, fold=FOLD_VERSION, live=1)
    assert fake.lines() == [f"ledger {GROUP} state of prod, live: expected 2, found 1"]


def test_a_fold_has_a_number_for_each_form_of_its_states() -> None:
    """A field more in a state wants FOLD_VERSION raised, and the fields written down here."""
    schema = msgspec.json.schema_components([VersionState, EnvironmentState])[1]
    fields = {name: sorted(found.get("properties", {})) for name, found in schema.items()}
    assert (FOLD_VERSION, hashlib.sha256(canonical(fields)).hexdigest()[:16]) == (6, "5e9ce6204666da49")


def test_a_live_record_of_another_release_that_says_the_same_is_no_difference(fake: FakeService) -> None:
    name = f"{PREFIX}/{GROUP}/prod/live"
    record = {**json.loads(fake.ssm.values[name]), "schema": 2, "region": "eu-west-1"}
    fake.ssm.values[name] = dump({**record, "signature": fake.signer.sign_text(signed_bytes(record))})
    assert fake.lines() == []
    record["model_package_version"] = 1
    fake.ssm.values[name] = dump({**record, "signature": fake.signer.sign_text(signed_bytes(record))})
    assert len(fake.lines()) == 1


def test_a_policy_is_recorded_without_what_is_left_at_its_default() -> None:
    prod = CONFIG.policy()["environments"][2]
    assert prod["quorum"] == 2
    assert "requester_may_approve" not in prod
    assert "bypass" not in without_defaults({"operators": settings.Operators()})["operators"]


# A default is part of every policy that leaves the setting out: another default would change them unseen.
DEFAULTS = {
    "Gate": {"relative": False, "lower_is_better": False},
    "Environment": {
        "quorum": 1, "expires_after": "72h", "requester_may_approve": False, "previous_approver_may_approve": True,
        "on_revoke": "fall_back", "signature": False,
    },
    "FreezeWindow": {"reason": "change freeze"},
}  # fmt: skip


def test_defaults_of_a_policy_never_change() -> None:
    for name, expected in DEFAULTS.items():
        fields = msgspec.structs.fields(getattr(settings, name))
        empty = (None, (), msgspec.NODEFAULT)
        found = {f.name: f.default for f in fields if f.default not in empty and f.default_factory is msgspec.NODEFAULT}
        assert found == expected, name
