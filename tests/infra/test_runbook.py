"""The runbook's rows that name a line of a log: whoever gets the alarm finds that line there."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest
import time_machine
from botocore.exceptions import ClientError

from lambdas.shared.dependencies import logger
from tests.faults.simulation import BEGINNING, Simulation
from tests.infra.synthesized import ROOT, Template
from tests.infra.test_alarms import OWN, running, sweeps, under, while_down

__all__ = ["running"]


def rows() -> Iterator[tuple[str, str]]:
    """Alarms, and the lines that their rows name."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for row in page.split("## Alarms", 1)[1].split("\n## ", 1)[0].splitlines():
        if row.startswith("| `"):
            yield from ((row.split("`")[1], line) for line in re.findall(r"the line `([^`]+)`", row))


def cannot_expire(made: Simulation) -> None:
    """A request is to expire, and the function that records it can't be called."""
    with time_machine.travel(BEGINNING + timedelta(days=7)), pytest.raises(ClientError):
        while_down("lambda", sweeps)(made)


# The alarm of overdue requests also goes off where nobody sweeps at all: then there is no line.
TROUBLE: Mapping[str, tuple[str, Callable[[Simulation], None]]] = {
    **{name: (module, trouble) for name, (module, trouble, _) in OWN.items()},
    "RequestsOverdue": ("sweep", cannot_expire),
}


@pytest.fixture
def log(running: Simulation) -> Iterator[io.StringIO]:
    """The functions' output, as CloudWatch gets it."""
    out, handler = io.StringIO(), logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(out)
    logger.setLevel("INFO")
    yield out
    handler.setStream(before)
    logger.setLevel("CRITICAL")


def test_rows_name_lines_of_alarms_that_are_tried_here() -> None:
    assert {name for name, _ in rows()} == {"WebAnswers5xx", "SignInsBroken", "WakeUpsRefused", "RequestsOverdue"}


@pytest.mark.parametrize(("name", "line"), list(rows()))
def test_the_log_has_the_line_that_the_row_names(
    name: str, line: str, template: Template, running: Simulation, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, trouble = TROUBLE[name]
    under(template, module, monkeypatch)
    # The template has each function log from INFO on.
    logger.setLevel(logging.INFO)
    trouble(running)
    found = [json.loads(each) for each in log.getvalue().splitlines() if each.startswith("{")]
    [said, *_] = [each for each in found if each.get("message") == line] or [{}]
    assert said, [each.get("message") for each in found]
    assert said.get("reason") or said.get("exception"), "the reason stands in the line"
