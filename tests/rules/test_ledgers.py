"""Ledgers that earlier releases wrote, read, verified, folded and exported by this one, and by one that knows more fields."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from promotion.domain.model import EnvironmentState, VersionState
from promotion.ledger.fold import read_state, refolded
from promotion.ledger.payloads import PAYLOADS
from tests.ledgers import later
from tests.ledgers.reading import house_of, report

ROOT = Path(__file__).parents[2]
RELEASES = sorted(path.parent for path in (ROOT / "tests" / "ledgers").glob("*/ledger.json"))
# SHA-256 over every event's hash, in order: what a release wrote stays what it was.
WRITTEN = {"0.1.0": "8cb19971ed5caaef2b883789a6ba3577226add8d2238bdceb4826f86252a52e9"}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: str(path.name))
def release(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_every_release_has_a_recording_with_every_kind_it_knew() -> None:
    assert [path.name for path in RELEASES] == sorted(WRITTEN)
    house, recorded = house_of(RELEASES[-1])
    assert {kind for group in recorded["heads"] for kind in house.kinds(group)} == set(PAYLOADS)


def test_what_an_earlier_release_wrote_is_read_and_verified_clean(release: Path) -> None:
    found = report(release)
    assert found["lines"] == []
    assert set(map(tuple, found["decisions"].values())) == {()}
    assert len(found["decisions"]) == 3
    hashes = hashlib.sha256("".join(found["hashes"]).encode()).hexdigest()
    assert hashes == WRITTEN[release.name]


def test_what_an_earlier_release_wrote_folds_to_the_states_it_stored(release: Path) -> None:
    house, recorded = house_of(release)
    for group in recorded["heads"]:
        folded = refolded(house.ledger.head(group), house.events(group))
        environments, versions = house.ledger.stored_states(group)
        assert sorted(environments) == sorted(folded.environments)
        assert sorted(versions) == sorted(folded.versions)
        for name, text in environments.items():
            assert read_state(text, EnvironmentState) in (None, folded.environments[name]), "None is another fold"
        for number, text in versions.items():
            assert read_state(text, VersionState) in (None, folded.versions[number])


def test_a_group_goes_on_from_what_an_earlier_release_wrote(release: Path) -> None:
    house, _ = house_of(release)
    before = len(house.events())
    house.register(99)
    assert len(house.events()) > before
    assert house.events()[-1].previous_hash == house.events()[-2].hash


@pytest.fixture(scope="module")
def later_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("later")
    assert later.make(home) > 80
    return home


def test_a_field_more_in_every_struct_changes_no_hash_no_digest_and_no_sentence(
    release: Path, later_release: Path
) -> None:
    assert later.read_by(later_release, release) == report(release)
