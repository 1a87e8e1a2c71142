"""What waited in the registry before the service was installed is no lost registration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from moto.sagemaker.models import sagemaker_backends

from tests.faults.plant import plant


@pytest.mark.parametrize(("older_by", "found"), [(timedelta(days=400), False), (timedelta(0), True)])
def test_the_sweep_registers_nothing_that_is_older_than_the_ledger(
    tmp_path: Path, older_by: timedelta, found: bool
) -> None:
    with plant(tmp_path) as service:
        service.register(tell=False)
        (package,) = sagemaker_backends["123456789012"]["us-east-1"].model_packages.values()
        package.creation_time -= older_by
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10), tick=True):
            service.sweep()
        assert bool(service.story()) is found
        assert bool(service.mails) is found
