"""One directory for the whole suite; a provider and a service for each of its two modules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from outside.directory import active_directory
from outside.directory.active_directory import Account, Directory
from outside.directory.people import fill
from tests.browser.conftest import browser
from tests.infra.synthesized import ROOT

__all__ = ["browser"]
FIGURES = ROOT / "build" / "bench" / "approver.json"


class Tally:
    """Count the people of the directory who got their rights: right only if all stories of a person pass."""

    def __init__(self) -> None:
        self.right: dict[str, bool] = {}

    @contextmanager
    def of(self, *people: Account) -> Iterator[None]:
        """A story of some people; it is right if the block ends without an error."""
        before = {person.login: self.right.get(person.login, True) for person in people}
        self.right |= dict.fromkeys(before, False)
        yield
        self.right |= before

    def write(self, path: Path) -> None:
        """Add the figures to those of benchmarks/approver.py."""
        figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        figures |= {"directory_people": len(self.right), "directory_right": sum(self.right.values())}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    counted = Tally()
    yield counted
    counted.write(FIGURES)


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    try:
        with active_directory.running(tmp_path_factory.mktemp("samba")) as running:
            fill(running)
            yield running
    except active_directory.Refused as error:
        pytest.fail(f"No Active Directory here: {error}", pytrace=False)
