"""A decision's record as HTML: every signature to read, and checked offline with its events."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from msgspec.structs import replace

from promotion.cli import auditing
from promotion.domain.people import Authentication, Person
from promotion.errors import IntegrityError, Invalid
from promotion.ledger import decision_export
from promotion.rendering import record
from tests.fakes import ANN, CONFIG, GROUP, FakeService, signed_in

HOSTILE = 'Good. </script><script>alert("1")</script> <!-- ]]>'


@pytest.fixture
def fake() -> FakeService:
    """A version that was signed into dev and test, each with what its environment asks for."""
    dev, test, *others = CONFIG.environments
    fake = FakeService(
        replace(CONFIG, environments=(replace(dev, signature=True), replace(test, signature=True), *others))
    )
    fake.register(1)
    fake.decide(1, "dev", signer(fake, "pwd", "mfa"), reason=HOSTILE)
    fake.measure(1, "dev")
    fake.decide(1, "test", signer(fake))
    return fake


def signer(fake: FakeService, *methods: str) -> Person:
    person = signed_in(ANN, fake.now)
    assert isinstance(person.authentication, Authentication)
    names = {"upn": "a.adler@corp.example.test"}
    return replace(person, authentication=replace(person.authentication, amr=methods, names=names))


def written(fake: FakeService, environment: str = "test") -> bytes:
    return record.write(decision_export.bundle(fake.asked(1, environment), fake.events()))


def text_of(page: bytes) -> str:
    """Return the visible text."""
    shown = re.sub(r"<(script|style).*?</\1>", " ", page.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown)))


def test_every_signature_up_to_the_decision_is_in_it(fake: FakeService) -> None:
    text = text_of(written(fake))
    for name in ("dev", "test"):
        assert f"“I approve {GROUP} version 1 for use in {name}, having reviewed the evidence.”" in text
    assert text.count("an electronic signature “") == 2
    assert text.count("Name Ann Adler Role") == 2
    assert "Methods (amr) pwd and mfa" in text
    assert "Methods (amr) not said by the provider" in text
    assert "upn a.adler@corp.example.test" in text
    assert "Group that gave the right test-approvers" in text


def test_a_decision_without_a_signature_is_called_that() -> None:
    fake = FakeService()
    fake.promote(1, to="dev")
    assert "dev: Approved, not an electronic signature" in text_of(written(fake, "dev"))


def test_hostile_reasons_are_text(fake: FakeService) -> None:
    page = written(fake)
    assert page.count(b"<script") == 1
    assert HOSTILE in text_of(page)
    assert record.read(page) == decision_export.bundle(fake.asked(1, "test"), fake.events())


def test_one_bundle_always_comes_to_the_same_bytes(fake: FakeService) -> None:
    assert written(fake) == written(fake)
    assert record.problems(written(fake), record.read(written(fake))) == []


def checks(fake: FakeService, folder: Path, page: bytes) -> int:
    (folder / "record.html").write_bytes(page)
    (folder / "promotion.pub").write_text(fake.signer.public_key)
    return auditing.check_bundle(str(folder / "record.html"), str(folder / "promotion.pub"))


def test_it_is_checked_with_the_public_key_alone(
    fake: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checks(fake, tmp_path, written(fake)) == 0
    assert "is as it was recorded: approved" in capsys.readouterr().out


def test_a_changed_text_is_found(fake: FakeService, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the text is not what"):
        checks(fake, tmp_path, written(fake).replace(b"<b>Ann Adler</b>", b"<b>Eve Adler</b>"))


def test_a_changed_event_is_found(fake: FakeService, tmp_path: Path) -> None:
    page = written(fake)
    event = page.rindex(b"Ann Adler")
    with pytest.raises(IntegrityError, match="altered"):
        checks(fake, tmp_path, page[:event] + b"Eve Adler" + page[event + 9 :])


def test_a_page_of_another_kind_is_none(fake: FakeService, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="encloses no events"):
        checks(fake, tmp_path, b"<!doctype html><title>Hello</title>")
