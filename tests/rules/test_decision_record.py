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
from tests.fakes import ANN, CONFIG, GROUP, House, signed_in

HOSTILE = 'Good. </script><script>alert("1")</script> <!-- ]]>'


@pytest.fixture
def house() -> House:
    """A version that was signed into dev and test, each with what its environment asks for."""
    dev, test, *others = CONFIG.environments
    house = House(replace(CONFIG, environments=(replace(dev, signature=True), replace(test, signature=True), *others)))
    house.register(1)
    house.decide(1, "dev", signer(house, "pwd", "mfa"), reason=HOSTILE)
    house.measure(1, "dev")
    house.decide(1, "test", signer(house))
    return house


def signer(house: House, *methods: str) -> Person:
    person = signed_in(ANN, house.now)
    assert isinstance(person.authentication, Authentication)
    names = {"upn": "a.adler@corp.example.test"}
    return replace(person, authentication=replace(person.authentication, amr=methods, names=names))


def written(house: House, environment: str = "test") -> bytes:
    return record.write(decision_export.bundle(house.asked(1, environment), house.events()))


def text_of(page: bytes) -> str:
    """Return the visible text."""
    shown = re.sub(r"<(script|style).*?</\1>", " ", page.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown)))


def test_every_signature_up_to_the_decision_is_in_it(house: House) -> None:
    text = text_of(written(house))
    for name in ("dev", "test"):
        assert f"“I approve {GROUP} version 1 for use in {name}, having reviewed the evidence.”" in text
    assert text.count("an electronic signature “") == 2
    assert text.count("Name Ann Adler Role") == 2
    assert "Methods (amr) pwd and mfa" in text
    assert "Methods (amr) not said by the provider" in text
    assert "upn a.adler@corp.example.test" in text
    assert "Group that gave the right test-approvers" in text


def test_a_decision_without_a_signature_is_called_that() -> None:
    house = House()
    house.climb(1, to="dev")
    assert "dev: Approved, not an electronic signature" in text_of(written(house, "dev"))


def test_hostile_reasons_are_text(house: House) -> None:
    page = written(house)
    assert page.count(b"<script") == 1
    assert HOSTILE in text_of(page)
    assert record.read(page) == decision_export.bundle(house.asked(1, "test"), house.events())


def test_one_bundle_always_comes_to_the_same_bytes(house: House) -> None:
    assert written(house) == written(house)
    assert record.problems(written(house), record.read(written(house))) == []


def checks(house: House, folder: Path, page: bytes) -> int:
    (folder / "record.html").write_bytes(page)
    (folder / "promotion.pub").write_text(house.signer.public_key)
    return auditing.check_bundle(str(folder / "record.html"), str(folder / "promotion.pub"))


def test_it_is_checked_with_the_public_key_alone(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checks(house, tmp_path, written(house)) == 0
    assert "is as it was recorded: approved" in capsys.readouterr().out


def test_a_changed_text_is_found(house: House, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="the text is not what"):
        checks(house, tmp_path, written(house).replace(b"<b>Ann Adler</b>", b"<b>Eve Adler</b>"))


def test_a_changed_event_is_found(house: House, tmp_path: Path) -> None:
    page = written(house)
    event = page.rindex(b"Ann Adler")
    with pytest.raises(IntegrityError, match="altered"):
        checks(house, tmp_path, page[:event] + b"Eve Adler" + page[event + 9 :])


def test_a_page_of_another_kind_is_none(house: House, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="encloses no events"):
        checks(house, tmp_path, b"<!doctype html><title>Hello</title>")
