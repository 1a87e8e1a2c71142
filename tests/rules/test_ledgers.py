"""Ledgers that earlier releases wrote, read, verified, folded and exported by this one, and by one that knows more fields."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from promotion import names
from promotion.domain.model import FOLD_VERSION, EnvironmentState, VersionState
from promotion.ledger.fold import read_state, refolded
from promotion.ledger.payloads import PAYLOADS
from tests.fakes import FakeService
from tests.ledgers import later
from tests.ledgers.going_on import go_on, state_of
from tests.ledgers.reading import house_of, report

ROOT = Path(__file__).parents[2]
RELEASES = sorted(path.parent for path in (ROOT / "tests" / "ledgers").glob("*/ledger.json"))
# SHA-256 over every event's hash, in order: what a release wrote stays what it was.
WRITTEN = {"0.1.0": "8cb19971ed5caaef2b883789a6ba3577226add8d2238bdceb4826f86252a52e9"}

# Kinds of events since the last release; the next one's recording has them (tests/ledgers/record.py).
UNRELEASED = {names.INFERENCE_SKIPPED, names.REGISTRATION_ASKED}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: str(path.name))
def release(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_every_release_has_a_recording_with_every_kind_it_knew() -> None:
    assert [path.name for path in RELEASES] == sorted(WRITTEN)
    fake, recorded = house_of(RELEASES[-1])
    assert {kind for group in recorded["heads"] for kind in fake.kinds(group)} == set(PAYLOADS) - UNRELEASED


def test_a_ledger_of_an_earlier_release_is_verified_without_differences(release: Path) -> None:
    found = report(release)
    assert found["lines"] == []
    assert set(map(tuple, found["decisions"].values())) == {()}
    assert len(found["decisions"]) == 3
    hashes = hashlib.sha256("".join(found["hashes"]).encode()).hexdigest()
    assert hashes == WRITTEN[release.name]


def test_a_ledger_of_an_earlier_release_folds_to_its_stored_states(release: Path) -> None:
    fake, recorded = house_of(release)
    for group in recorded["heads"]:
        folded = refolded(fake.ledger.head(group), fake.events(group))
        environments, versions = fake.ledger.stored_states(group)
        assert sorted(environments) == sorted(folded.environments)
        assert sorted(versions) == sorted(folded.versions)
        for name, text in environments.items():
            assert read_state(text, EnvironmentState) in (None, folded.environments[name]), "None is another fold"
        for number, text in versions.items():
            assert read_state(text, VersionState) in (None, folded.versions[number])


def test_a_group_goes_on_from_what_an_earlier_release_wrote(release: Path) -> None:
    fake, _ = house_of(release)
    before = len(fake.events())
    fake.register(99)
    assert len(fake.events()) > before
    assert fake.events()[-1].previous_hash == fake.events()[-2].hash


@pytest.fixture(scope="module")
def later_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("later")
    assert later.make(home) > 80
    return home


def test_a_field_more_in_every_struct_changes_no_hash_no_digest_and_no_sentence(
    release: Path, later_release: Path
) -> None:
    assert later.read_by(later_release, release) == report(release)


def test_a_release_that_is_rolled_back_loses_nothing_that_the_newer_one_wrote(tmp_path: Path) -> None:
    """This release, the next one, this one again, the next one again, all on one ledger."""
    newer = tmp_path / "newer"
    later.make(newer, folds_otherwise=True)
    steps = [tmp_path / f"step{number}" for number in range(5)]
    state_of(FakeService()).write(steps[0])
    go_on(steps[0], steps[1], 1)
    later.go_on(newer, steps[1], steps[2], 2)
    go_on(steps[2], steps[3], 3)
    later.go_on(newer, steps[3], steps[4], 4)
    for step in steps[1:]:
        assert report(step)["lines"] == []
        assert later.read_by(newer, step) == report(step)
    texts = [[event.text for event in house_of(step)[0].events()] for step in steps]
    for before, after in pairwise(texts):
        assert after[: len(before)] == before
    by_the_newer = texts[2][len(texts[1]) :]
    assert all("by a later release" in text for text in by_the_newer)
    fake, _ = house_of(steps[3])
    folds = {key: json.loads(item)["fold"] for (_, key), item in fake.ledger.items.items() if key.startswith("VERSION")}
    assert set(folds.values()) == {FOLD_VERSION, FOLD_VERSION + 1}, "both releases wrote states"
    assert [fake.live(name) for name in fake.config.environment_names] == [3, 3, 3]


def test_a_live_record_of_the_newer_release_serves_clients_of_this_one_and_the_other_way_round(tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    later.make(newer)
    path = newer / "promotion" / "client" / "live_record.py"
    text, changes = re.subn(r"^SCHEMA = 1$", "SCHEMA = 2", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert changes == 1
    path.write_text(text, encoding="utf-8")
    steps = [tmp_path / f"step{number}" for number in range(3)]
    state_of(FakeService()).write(steps[0])
    later.go_on(newer, steps[0], steps[1], 1)
    go_on(steps[1], steps[2], 2)
    for step, schema in ((steps[1], 2), (steps[2], 1)):
        recorded = house_of(step)[1]["parameters"]
        found = [json.loads(value)["schema"] for name, value in recorded.items() if name.endswith("/live")]
        assert found == [schema] * 3
        assert report(step)["live"] == later.read_by(newer, step)["live"]
        assert all(version is not None for _, version in report(step)["live"])
