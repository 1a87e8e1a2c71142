"""One id leads from a version's registration to production, through the lines of every function."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from lambdas.shared.dependencies import logger
from promotion import names
from tests.fakes import GROUP
from tests.faults.simulation import Simulation


@pytest.fixture
def lines(service: Simulation) -> Iterator[io.StringIO]:
    """Return the functions' output, as CloudWatch would get it."""
    out = io.StringIO()
    handler = logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(out)
    logger.setLevel("INFO")
    yield out
    handler.setStream(before)
    logger.setLevel("CRITICAL")


def test_a_version_is_followed_by_one_id_from_registration_to_production(
    service: Simulation, lines: io.StringIO
) -> None:
    service.register()
    service.settle()
    service.register()
    service.settle()
    service.promote(2, "prod")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    of_two = [line for line in found if line.get("correlation_id") == f"{GROUP}:2"]
    said = {line["message"] for line in of_two}
    assert {"model registered", "recorded", "decision recorded", "event projected", "run recorded"} <= said
    for target in names.TARGETS:
        kinds = [line["kind"] for line in of_two if line.get("target") == target]
        assert kinds[0] == names.MODEL_REGISTERED
        assert kinds.count(names.MODEL_PROMOTED) == 3, "dev, test and prod"
    assert [line for line in found if line.get("model_package_version") == 1 and line in of_two] == []


def test_a_line_about_no_version_has_no_id(service: Simulation, lines: io.StringIO) -> None:
    service.sweep()
    [swept] = [json.loads(line) for line in lines.getvalue().splitlines() if json.loads(line)["message"] == "swept"]
    assert "correlation_id" not in swept
