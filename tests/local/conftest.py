"""One running local service for the tests that only look at it or use groups of their own, and AWS in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from local import moto_patches
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


@pytest.fixture
def moto() -> Iterator[None]:
    """AWS in this process, with the local service's patches."""
    moto_patches.apply()
    with mock_aws():
        yield
