"""The signing key is replaced: old events stay right, and the ledger records the change, signed by both keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.client.signature import public_keys
from promotion.config.loading import parse
from promotion.config.signing_settings import Signing
from promotion.domain.canonical_json import canonical
from promotion.errors import Invalid
from promotion.ledger.append import Context
from promotion.ledger.events import StoredEvent, chained, head_after, key_change_bytes, signed
from promotion.ledger.payloads import SigningKeyChanged
from promotion.ledger.verify import Verifier
from promotion.workflows import decisions
from tests.fakes import CONFIG_TEXT, GROUP, PREFIX, FakeService, a_package, a_registration
from tests.memory import LocalSigner

PEM = LocalSigner().public_key


@pytest.fixture
def fake() -> FakeService:
    """Version 1 live everywhere under the first key."""
    fake = FakeService()
    fake.promote(1)
    fake.project()
    assert fake.lines() == []
    return fake


def changes(fake: FakeService) -> list[SigningKeyChanged]:
    return [event.payload for event in fake.events() if isinstance(event.payload, SigningKeyChanged)]


def test_old_events_stay_right_and_what_was_live_is_signed_anew_by_rebuild(fake: FakeService) -> None:
    fake.later(days=1)
    fake.another_key()
    [former] = fake.config.signing.former
    lines = [line for line in fake.lines() if line.startswith("parameter")]
    assert len(lines) == 3 == len(fake.lines())
    assert all(line.endswith(f"found one of {former.key_id}, which signed before") for line in lines)
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.lines() == []


def test_the_next_append_records_the_change_signed_by_both_keys(fake: FakeService) -> None:
    before = fake.signer
    fake.later(days=1)
    fake.another_key()
    fake.later(minutes=1)
    fake.roll_back("prod") if fake.view().environment("prod").former else fake.register(2)
    [change] = changes(fake)
    [event] = [event for event in fake.events() if event.kind == names.SIGNING_KEY_CHANGED]
    text = key_change_bytes(GROUP, event.previous_hash, before.key_id, fake.signer.key_id)
    assert (change.before, change.after) == (before.key_id, fake.signer.key_id)
    assert before.holds(text, change.signatures[before.key_id])
    assert fake.signer.holds(text, change.signatures[fake.signer.key_id])
    fake.register(3)
    assert len(changes(fake)) == 1, "once"
    fake.project()
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.lines() == []


def test_a_lost_key_is_replaced_without_its_own_signature(fake: FakeService) -> None:
    fake.later(days=1)
    fake.another_key(lost=True)
    fake.register(2)
    [change] = changes(fake)
    assert set(change.signatures) == {fake.signer.key_id}
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.lines() == []


def test_keys_are_replaced_more_than_once(fake: FakeService) -> None:
    for version in (2, 3, 4):
        fake.later(days=1)
        fake.another_key()
        fake.later(minutes=1)
        fake.register(version)
    assert [change.after for change in changes(fake)][-1] == fake.signer.key_id
    fake.cursors.reset(GROUP, names.PARAMETERS)
    fake.project()
    assert fake.lines() == []


def test_without_the_former_key_in_the_configuration_old_events_are_another_keys(fake: FakeService) -> None:
    fake.another_key()
    fake.config = replace(fake.config, signing=Signing())
    assert any("expected a signature of the signing key, found another's" in line for line in fake.lines())


def forged(fake: FakeService, by: LocalSigner, **later: float) -> None:
    """An event that `by` signed is put at the ledger's end."""
    fake.later(**later)
    head = fake.ledger.head(GROUP)
    payload = SigningKeyChanged(before="x", after=fake.signer.key_id)
    from promotion.domain.people import SYSTEM
    from promotion.ledger.events import happened

    [event] = signed(
        chained(head, [happened(payload, SYSTEM)], time=fake.now, policy_digest=head.policy_digest), by.sign, by.key_id
    )
    fake.ledger.items[GROUP, f"EVENT#{event.sequence:010d}"] = canonical(event.stored())
    fake.ledger.items[GROUP, "HEAD"] = canonical(head_after(head, [event]))


def test_a_former_key_signs_nothing_after_its_time(fake: FakeService) -> None:
    before = fake.signer
    fake.another_key()
    forged(fake, before, days=1)
    assert any("a signature of the signing key, found another's" in line for line in fake.lines())


def test_a_former_key_signs_nothing_after_the_present_one_whatever_time_it_says(fake: FakeService) -> None:
    before = fake.signer
    fake.later(days=1)
    fake.another_key()
    fake.later(minutes=1)
    fake.register(2)
    forged(fake, before, days=-1)
    last = fake.events()[-1].sequence
    assert f"ledger {GROUP} event {last}: expected a signature of the signing key, found another's" in fake.lines()


def test_a_change_of_keys_that_was_not_signed_by_the_new_one_is_told(fake: FakeService) -> None:
    forged(fake, fake.signer)
    last = fake.events()[-1].sequence
    assert fake.lines() == [f"ledger {GROUP} event {last}: expected a signature of {fake.signer.key_id}, found none"]


def test_a_restored_ledger_is_told_from_records_of_the_key_before(fake: FakeService) -> None:
    """The table went back in time, and the key changed since: what it signed still says what is missing."""
    copy = dict(fake.ledger.items)
    fake.promote(2)
    fake.project()
    fake.another_key()
    fake.ledger.items = copy
    assert any("its tail was cut, or an older copy restored" in line for line in fake.lines())


def test_the_key_of_an_event_stands_beside_its_text(fake: FakeService) -> None:
    stored = [event.stored() for event in fake.events() if event.signature]
    assert {each.key_id for each in stored} == {fake.signer.key_id}
    assert all(each.key_id not in each.text for each in stored)
    assert StoredEvent(text="{}", hash="").key_id == ""


@pytest.mark.parametrize(("settings", "said"), [
    ('[[advanced.signing.former]]\nkey_id = "old"\npublic_key = "old.pub"\nuntil = 2026-12-01T00:00:00Z', "former[0].public_key"),
    ("[[advanced.signing.former]]\nkey_id = 'old'\npublic_key = '''PEM'''\nuntil = 2026-12-01T00:00:00", "former[0].until"),
    ("[advanced.signing]\nkey = 'old'\n[[advanced.signing.former]]\nkey_id = 'old'\n"
     "public_key = '''PEM'''\nuntil = 2026-12-01T00:00:00Z", "former[0].key_id"),
])  # fmt: skip
def test_a_wrong_setting_is_refused_by_its_place(settings: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(CONFIG_TEXT + settings.replace("PEM", PEM))
    assert said in str(refused.value)


def test_a_setting_that_fits_is_taken() -> None:
    text = (
        f"[advanced.signing]\nkey = 'new'\n[[advanced.signing.former]]\nkey_id = 'old'\npublic_key = '''{PEM}'''\n"
        "until = 2026-12-01T00:00:00Z"
    )
    found: Any = parse(CONFIG_TEXT + text).signing
    assert (found.key, found.former[0].key_id) == ("new", "old")
    assert f"{PREFIX}/" not in found.former[0].public_key


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file"),
        (b"", "there is no P-256 public key in PEM form"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "this is no public key in PEM form"),
        (b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce", "is no public key in PEM form"),
    ],
)
def test_a_file_that_is_no_public_key_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    place = tmp_path / "promotion.pub"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(Invalid, match=said):
        public_keys(str(place))


def test_an_installation_without_former_keys_signs_with_its_own_and_trusts_no_other(fake: FakeService) -> None:
    """As `promotion verify` runs where the configuration names no former key."""
    fake.another_key()
    context = Context(
        ledger=fake.ledger, config=fake.config, now=fake.now, sign=fake.signer.sign, key_id=fake.signer.key_id
    )
    decisions.register(a_package(2), a_registration(), context=context)
    [change] = changes(fake)
    assert set(change.signatures) == {fake.signer.key_id}
    given = fake.verifier
    verifier = Verifier(
        ledger=given.ledger, packages=given.packages, store=given.store, holds=given.holds, prefix=PREFIX,
        key_id=given.key_id,
    )  # fmt: skip
    first, *_ = verifier.group(GROUP, parameters={})
    assert first.difference.line == f"ledger {GROUP} event 3: expected a signature of the signing key, found another's"
