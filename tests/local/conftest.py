"""One running local service for the tests that only look at it or use groups of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.service import LocalService
from tests.local.people import Person


@pytest.fixture(scope="session")
def service() -> Iterator[LocalService]:
    with LocalService(inference=False) as running:
        yield running


@pytest.fixture(scope="session")
def ann(service: LocalService) -> Iterator[Person]:
    """Signed in, and an approver everywhere."""
    with Person(service, "ann") as person:
        person.sign_in()
        yield person
