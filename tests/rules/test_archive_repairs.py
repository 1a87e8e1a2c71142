"""Each change in the archive of histories is a difference, named on the page of threats, and repaired."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from promotion.errors import IntegrityError
from promotion.ledger.archive import FIELD
from promotion.workflows.projector import BATCH
from tests.fakes import CONFIG, GROUP, PREFIX, FakeService
from tests.rules.test_archive import ARCHIVE, KEPT, VERSIONS, climbed, present, whole


def edit_the_name(fake: FakeService) -> None:
    document = json.loads(fake.ssm.values[ARCHIVE])
    fake.ssm.values[ARCHIVE] = json.dumps({**document, "sha256": "0" * 64})


def spoil_the_name(fake: FakeService) -> None:
    fake.ssm.values[ARCHIVE] = "[" * 2000


def delete_the_name(fake: FakeService) -> None:
    del fake.ssm.values[ARCHIVE]


def delete_the_index(fake: FakeService) -> None:
    del fake.s3.objects[json.loads(fake.ssm.values[ARCHIVE])["object"]]


def spoil_the_index(text: bytes) -> Callable[[FakeService], None]:
    def spoil(fake: FakeService) -> None:
        document, sha256 = json.loads(fake.ssm.values[ARCHIVE]), hashlib.sha256(text).hexdigest()
        document["object"] = f"{names.ARCHIVES}/{GROUP}.index/{sha256}.json"
        fake.s3.objects[document["object"]] = text
        fake.ssm.values[ARCHIVE] = json.dumps({**document, "sha256": sha256})

    return spoil


STRANGE = {"object": "x", "sha256": "0" * 64, "last": 1}
NO_NUMBER = json.dumps({"schema": 1, "model_package_group": GROUP, "versions": {"x": STRANGE}}).encode()


def name_a_version_that_is_nowhere(fake: FakeService) -> None:
    index = json.loads(fake.s3.objects[json.loads(fake.ssm.values[ARCHIVE])["object"]])
    spoil_the_index(json.dumps({**index, "versions": {**index["versions"], "99": STRANGE}}).encode())(fake)


def name_what_is_no_history(fake: FakeService) -> None:
    """The digests hold: another release wrote it, or somebody with all rights."""
    index = json.loads(fake.s3.objects[json.loads(fake.ssm.values[ARCHIVE])["object"]])
    first = index["versions"]["1"]
    fake.s3.objects[first["object"]] = b"{}"
    first["sha256"] = hashlib.sha256(b"{}").hexdigest()
    spoil_the_index(json.dumps(index).encode())(fake)


def delete_an_object(fake: FakeService) -> None:
    del fake.s3.objects[next(key for key in fake.s3.objects if key.startswith(f"{names.ARCHIVES}/{GROUP}.v1/"))]


def put_an_older_index_back(fake: FakeService) -> None:
    older = fake.ssm.values[ARCHIVE]
    fake.promote(9)
    fake.project()
    fake.ssm.values[ARCHIVE] = older


def delete_what_is_live(fake: FakeService) -> None:
    del fake.ssm.values[f"{VERSIONS}/8"]


def delete_what_is_kept(fake: FakeService) -> None:
    del fake.ssm.values[f"{VERSIONS}/7"]


def edit_the_mark(fake: FakeService) -> None:
    document = json.loads(fake.ssm.values[f"{VERSIONS}/8"])
    fake.ssm.values[f"{VERSIONS}/8"] = json.dumps({**document, FIELD: 10_000})


def add_a_version(fake: FakeService) -> None:
    fake.ssm.values[f"{VERSIONS}/2"] = fake.ssm.values[f"{VERSIONS}/8"]


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (edit_the_name, f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_name, f"parameter {ARCHIVE}: expected the index of the archive of {GROUP}"),
        (delete_the_name, f"parameter {VERSIONS}/1: expected v1 with"),
        (delete_the_index, f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_index(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}"), f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_index(NO_NUMBER), f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (name_a_version_that_is_nowhere, f"parameter {ARCHIVE}: expected no such version, found v99"),
        (delete_an_object, f"evidence {names.ARCHIVES}/{GROUP}.v1/"),
        (put_an_older_index_back, f"parameter {VERSIONS}/6: expected v6 with"),
        (delete_what_is_live, f"parameter {VERSIONS}/8: expected v8 with"),
        (delete_what_is_kept, f"parameter {VERSIONS}/7: expected v7 with"),
        (edit_the_mark, f"parameter {VERSIONS}/8 {FIELD}: expected "),
        (add_a_version, f"parameter {VERSIONS}/2 "),
    ],
)
def test_each_change_is_a_difference_and_is_repaired(tamper: Callable[[FakeService], None], line: str) -> None:
    fake = climbed(8)
    tamper(fake)
    assert any(found.startswith(line) for found in fake.lines()), fake.lines()
    for found in fake.verify():
        assert found.repair is not None
        found.repair()
    whole(fake)
    assert present(fake) <= {6, 7, 8, 9}


@pytest.mark.parametrize("tamper", [delete_an_object, delete_the_index, spoil_the_name, delete_the_name])
def test_the_documented_line_is_the_printed_one(tamper: Callable[[FakeService], None]) -> None:
    document = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    fake = climbed(4)
    tamper(fake)
    assert f"| `{re.sub('[0-9a-f]{64}', '…', fake.lines()[0])}` |" in document


@pytest.mark.parametrize(
    "damaged",
    [
        lambda found: json.dumps({**found, "history": found["history"][:-1]}),
        lambda found: json.dumps({**found, "history": "none"}),
        lambda found: json.dumps({**found, "history": [{"sequence": found["last"], "reason": "\ud800"}]}),
        lambda found: "[" * 4000,
    ],
)
def test_a_damaged_history_is_not_archived_until_it_is_repaired(damaged: Callable[[Any], str]) -> None:
    fake = climbed(6, CONFIG)
    fake.ssm.values[f"{VERSIONS}/1"] = damaged(json.loads(fake.ssm.values[f"{VERSIONS}/1"]))
    fake.config = KEPT
    fake.measure(6, "dev", run="next")
    assert fake.project() == []
    assert present(fake) == {1, 4, 5, 6}
    [found] = fake.verify()
    assert found.difference.line.startswith(f"parameter {VERSIONS}/1")
    assert found.repair is not None
    found.repair()
    whole(fake)
    assert present(fake) == {4, 5, 6}


def test_an_object_that_was_written_over_is_named_and_left_to_a_person() -> None:
    fake = climbed(8)
    key = next(key for key in fake.s3.objects if key.startswith(f"{names.ARCHIVES}/{GROUP}.v1/"))
    fake.s3.objects[key] = b"{}"
    [found] = fake.verify()
    assert found.difference.line.startswith(f"evidence {key}: ")
    assert found.repair is not None
    with pytest.raises(IntegrityError, match="delete it"):
        found.repair()
    del fake.s3.objects[key]
    found.repair()
    whole(fake)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (delete_the_index, "promotion verify"),
        (delete_an_object, "is not what the archive's index names"),
        (name_what_is_no_history, "is not what the archive's index names"),
    ],
)
def test_an_archive_that_cannot_be_read_holds_up_nothing_that_is_live(
    damage: Callable[[FakeService], None], said: str
) -> None:
    fake = climbed(8)
    damage(fake)
    fake.roll_back("prod", to=1)
    [failure] = fake.project()
    assert said in failure.error
    live = json.loads(fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"])
    assert live["model_package_version"] == 1


def test_what_goes_live_beyond_a_batch_is_not_held_up_either() -> None:
    """The projection stands at its first event, and tries the same batch again until it is repaired."""
    fake = climbed(8)
    delete_the_index(fake)
    fake.roll_back("dev", to=1)
    for number in range(BATCH):
        fake.later(minutes=1)
        fake.measure(1, "dev", run=f"run-{number}")
    fake.revoke(8)
    [failure] = fake.project()
    assert "promotion verify" in failure.error
    live = json.loads(fake.ssm.values[f"{PREFIX}/{GROUP}/prod/live"])
    assert live["sequence"] == fake.view().head.sequence


def test_a_history_that_counts_a_million_million_pages_is_not_read_page_by_page() -> None:
    fake = climbed(6, CONFIG)
    document = json.loads(fake.ssm.values[f"{VERSIONS}/1"])
    damaged = fake.ssm.values[f"{VERSIONS}/1"] = json.dumps({**document, "pages": 10**15})
    fake.config = KEPT
    fake.measure(6, "dev", run="next")
    assert fake.project() == []
    assert fake.ssm.values[f"{VERSIONS}/1"] == damaged


def test_a_deleted_parameter_is_not_begun_anew_without_its_history() -> None:
    """Version 2 changes the status of version 1, whose parameter somebody deleted."""
    fake = climbed(1, CONFIG)
    first = f"{VERSIONS}/1"
    del fake.ssm.values[first]
    fake.promote(2)
    assert fake.project() == []
    assert first not in fake.ssm.values
    [found] = fake.verify()
    assert found.difference.line.startswith(f"parameter {first}: expected v1 with")
    assert found.repair is not None
    found.repair()
    whole(fake)


def test_a_kept_version_whose_older_entries_are_archived_is_repaired() -> None:
    fake = climbed(2)
    for _ in range(40):
        fake.roll_back("dev", to=1)
        fake.roll_back("dev", to=2)
    assert fake.project() == []
    text = fake.ssm.values[f"{VERSIONS}/2"]
    assert json.loads(text)[FIELD]
    fake.ssm.values[f"{VERSIONS}/2"] = "[" * 4000
    [found] = fake.verify()
    assert found.repair is not None
    found.repair()
    whole(fake)
    assert json.loads(fake.ssm.values[f"{VERSIONS}/2"])[FIELD]
