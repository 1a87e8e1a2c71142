"""The page of a request costs what is open, not what exists."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import time_machine

from tests.faults.plant import BEGINNING, plant


def test_the_next_request_is_found_without_reading_the_whole_board(tmp_path: Path) -> None:
    read: list[str] = []

    def watch(name: str, given: dict[str, Any]) -> bool:
        read.append(str(given.get("ExpressionAttributeValues", "")) if "IndexName" in given else "")
        return False

    with plant(tmp_path) as service:
        for group in ("closed", "open"):
            with service.unharmed():
                boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=group)
        service.register(group="closed")
        service.settle()
        with time_machine.travel(BEGINNING + timedelta(days=4), tick=True):
            service.sweep()
            service.register(group="open")
            service.register()
            service.settle()
            assert service.decide(1, "dev") == 303
            service.settle()
        with time_machine.travel(BEGINNING + timedelta(days=4, hours=1), tick=True):
            service.poison = watch
            page = service.look(1, "dev")
    assert "Next: open v1 for dev" in page
    assert [each for each in read if each] == ["{':open': {'S': 'OPEN'}}"]
