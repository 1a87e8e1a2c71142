from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.identity.provider import Application, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def application(provider: Provider) -> Application:
    return Application(provider)
