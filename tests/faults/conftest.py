from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plant import Plant, plant


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made
