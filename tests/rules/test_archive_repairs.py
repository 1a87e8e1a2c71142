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
from tests.fakes import CONFIG, GROUP, PREFIX, House
from tests.rules.test_archive import ARCHIVE, KEPT, VERSIONS, climbed, present, whole


def edit_the_name(house: House) -> None:
    document = json.loads(house.ssm.values[ARCHIVE])
    house.ssm.values[ARCHIVE] = json.dumps({**document, "sha256": "0" * 64})


def spoil_the_name(house: House) -> None:
    house.ssm.values[ARCHIVE] = "[" * 2000


def delete_the_name(house: House) -> None:
    del house.ssm.values[ARCHIVE]


def delete_the_index(house: House) -> None:
    del house.s3.objects[json.loads(house.ssm.values[ARCHIVE])["object"]]


def spoil_the_index(text: bytes) -> Callable[[House], None]:
    def spoil(house: House) -> None:
        document, sha256 = json.loads(house.ssm.values[ARCHIVE]), hashlib.sha256(text).hexdigest()
        document["object"] = f"{names.ARCHIVES}/{GROUP}.index/{sha256}.json"
        house.s3.objects[document["object"]] = text
        house.ssm.values[ARCHIVE] = json.dumps({**document, "sha256": sha256})

    return spoil


STRANGE = {"object": "x", "sha256": "0" * 64, "last": 1}
NO_NUMBER = json.dumps({"schema": 1, "model_package_group": GROUP, "versions": {"x": STRANGE}}).encode()


def delete_an_object(house: House) -> None:
    del house.s3.objects[next(key for key in house.s3.objects if key.startswith(f"{names.ARCHIVES}/{GROUP}.v1/"))]


def put_an_older_index_back(house: House) -> None:
    older = house.ssm.values[ARCHIVE]
    house.climb(9)
    house.project()
    house.ssm.values[ARCHIVE] = older


def delete_what_is_live(house: House) -> None:
    del house.ssm.values[f"{VERSIONS}/8"]


def delete_what_is_kept(house: House) -> None:
    del house.ssm.values[f"{VERSIONS}/7"]


def edit_the_mark(house: House) -> None:
    document = json.loads(house.ssm.values[f"{VERSIONS}/8"])
    house.ssm.values[f"{VERSIONS}/8"] = json.dumps({**document, FIELD: 10_000})


def add_a_version(house: House) -> None:
    house.ssm.values[f"{VERSIONS}/2"] = house.ssm.values[f"{VERSIONS}/8"]


@pytest.mark.parametrize(
    ("tamper", "line"),
    [
        (edit_the_name, f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_name, f"parameter {ARCHIVE}: expected the index of the archive of {GROUP}"),
        (delete_the_name, f"parameter {VERSIONS}/1: expected v1 with"),
        (delete_the_index, f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_index(b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}"), f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (spoil_the_index(NO_NUMBER), f"evidence {names.ARCHIVES}/{GROUP}.index/"),
        (delete_an_object, f"evidence {names.ARCHIVES}/{GROUP}.v1/"),
        (put_an_older_index_back, f"parameter {VERSIONS}/6: expected v6 with"),
        (delete_what_is_live, f"parameter {VERSIONS}/8: expected v8 with"),
        (delete_what_is_kept, f"parameter {VERSIONS}/7: expected v7 with"),
        (edit_the_mark, f"parameter {VERSIONS}/8 {FIELD}: expected "),
        (add_a_version, f"parameter {VERSIONS}/2 "),
    ],
)
def test_each_change_is_a_difference_and_is_repaired(tamper: Callable[[House], None], line: str) -> None:
    house = climbed(8)
    tamper(house)
    assert any(found.startswith(line) for found in house.lines()), house.lines()
    for found in house.verify():
        assert found.repair is not None
        found.repair()
    whole(house)
    assert present(house) <= {6, 7, 8, 9}


@pytest.mark.parametrize("tamper", [delete_an_object, delete_the_index, spoil_the_name, delete_the_name])
def test_the_documented_line_is_the_printed_one(tamper: Callable[[House], None]) -> None:
    document = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    house = climbed(4)
    tamper(house)
    assert f"| `{re.sub('[0-9a-f]{64}', '…', house.lines()[0])}` |" in document


@pytest.mark.parametrize("history", [lambda found: found[:-1], lambda found: "none"])
def test_a_damaged_history_is_not_archived_until_it_is_repaired(history: Callable[[Any], Any]) -> None:
    house = climbed(6, CONFIG)
    document = json.loads(house.ssm.values[f"{VERSIONS}/1"])
    house.ssm.values[f"{VERSIONS}/1"] = json.dumps({**document, "history": history(document["history"])})
    house.config = KEPT
    house.measure(6, "dev", run="next")
    assert house.project() == []
    assert present(house) == {1, 4, 5, 6}
    [found] = house.verify()
    assert found.difference.line.startswith(f"parameter {VERSIONS}/1")
    assert found.repair is not None
    found.repair()
    whole(house)
    assert present(house) == {4, 5, 6}


def test_an_object_that_was_written_over_is_named_and_left_to_a_person() -> None:
    house = climbed(8)
    key = next(key for key in house.s3.objects if key.startswith(f"{names.ARCHIVES}/{GROUP}.v1/"))
    house.s3.objects[key] = b"{}"
    [found] = house.verify()
    assert found.difference.line.startswith(f"evidence {key}: ")
    assert found.repair is not None
    with pytest.raises(IntegrityError, match="delete it"):
        found.repair()
    del house.s3.objects[key]
    found.repair()
    whole(house)


def test_an_archive_that_cannot_be_read_holds_up_nothing_that_is_live() -> None:
    house = climbed(8)
    delete_the_index(house)
    house.roll_back("prod", to=1)
    [failure] = house.project()
    assert "promotion verify" in failure.error
    live = json.loads(house.ssm.values[f"{PREFIX}/{GROUP}/prod/live"])
    assert live["model_package_version"] == 1
