from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.simulation import Simulation, simulation


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulation]:
    with simulation(tmp_path) as made:
        yield made
