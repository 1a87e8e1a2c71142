"""An identity provider, and AWS in this process, as the command reads them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from local import moto_patches
from tests.adapters.conftest import Aws
from tests.identity.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def aws() -> Iterator[Aws]:
    moto_patches.apply()
    with mock_aws():
        yield Aws()
