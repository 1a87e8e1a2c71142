"""A record that was live before is refused by who remembers a later one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promotion.client.resolve import resolve
from promotion.client.seen_sequences import remember, seen
from promotion.errors import IntegrityError, Invalid, NotApproved
from tests.fakes import GROUP, PREFIX, FakeService, raises

LIVE = f"{PREFIX}/{GROUP}/dev/live"


@pytest.fixture
def fake() -> FakeService:
    fake = FakeService()
    fake.promote(1, to="dev")
    fake.project()
    return fake


@pytest.fixture
def resolved(fake: FakeService, tmp_path: Path) -> Callable[[], int]:
    """Return the version that a pipeline with a memory gets."""
    given: dict[str, Any] = {"public_key": fake.signer.public_key, "prefix": PREFIX, "ssm": fake.ssm}
    return lambda: resolve(GROUP, "dev", remember=tmp_path / "kept" / "seen.json", **given).model_package_version


def test_the_same_and_later_records_are_taken(fake: FakeService, resolved: Callable[[], int]) -> None:
    assert (resolved(), resolved()) == (1, 1)
    fake.promote(2, to="dev")
    fake.project()
    assert resolved() == 2


def test_an_older_record_that_was_put_back_is_refused(fake: FakeService, resolved: Callable[[], int]) -> None:
    older = fake.ssm.values[LIVE]
    fake.promote(2, to="dev")
    fake.project()
    assert resolved() == 2
    fake.ssm.values[LIVE] = older
    with pytest.raises(IntegrityError, match="an older one was put back"):
        resolved()


def test_a_revocation_is_remembered_too(fake: FakeService, resolved: Callable[[], int]) -> None:
    older = fake.ssm.values[LIVE]
    fake.revoke(1)
    fake.project()
    with pytest.raises(NotApproved):
        resolved()
    fake.ssm.values[LIVE] = older
    with pytest.raises(IntegrityError, match="an older one was put back"):
        resolved()


def test_a_cached_answer_is_remembered_too(fake: FakeService, tmp_path: Path) -> None:
    given: dict[str, Any] = {"public_key": fake.signer.public_key, "prefix": PREFIX, "ssm": fake.ssm}
    kept = tmp_path / "seen.json"
    sequence = resolve(GROUP, "dev", **given).sequence
    assert resolve(GROUP, "dev", cache_seconds=3600, remember=kept, **given).sequence == sequence
    assert seen(kept, LIVE) == sequence


def test_a_forged_record_is_not_remembered(fake: FakeService, resolved: Callable[[], int], tmp_path: Path) -> None:
    assert resolved() == 1
    kept = (tmp_path / "kept" / "seen.json").read_bytes()
    true = fake.ssm.values[LIVE]
    fake.ssm.values[LIVE] = true.replace('"sequence":', '"sequence":9')
    with pytest.raises(IntegrityError, match="signature"):
        resolved()
    assert (tmp_path / "kept" / "seen.json").read_bytes() == kept
    fake.ssm.values[LIVE] = true
    assert resolved() == 1


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a": "1"}', '{"a": true}', "[" * 5000])
def test_a_damaged_file_is_no_reason_to_begin_anew(tmp_path: Path, text: str) -> None:
    place = tmp_path / "seen.json"
    place.write_text(text)
    with pytest.raises(Invalid, match="delete it to begin anew"):
        seen(place, LIVE)
    with pytest.raises(Invalid, match="delete it to begin anew"):
        remember(place, LIVE, 7)
    assert place.read_text() == text


def test_a_file_that_can_not_be_replaced_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "seen.json"
    remember(place, LIVE, 7)
    monkeypatch.setattr(Path, "replace", raises(PermissionError(1, "not permitted")))
    with pytest.raises(PermissionError):
        remember(place, LIVE, 8)
    assert (seen(place, LIVE), [each.name for each in tmp_path.iterdir()]) == (7, ["seen.json"])


def test_a_lower_sequence_takes_nothing_back_and_others_stay(tmp_path: Path) -> None:
    place = tmp_path / "seen.json"
    remember(place, LIVE, 7)
    remember(place, "another", 3)
    remember(place, LIVE, 5)
    assert (seen(place, LIVE), seen(place, "another"), seen(place, "none")) == (7, 3, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["seen.json"]
