"""An environment that has left the configuration: its requests are in the history, and their links have no page."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from lambdas.handlers import web
from lambdas.shared import dependencies
from tests.faults.simulation import simulation


def test_a_link_to_a_request_there_leads_to_no_error_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulation(tmp_path) as service:
        service.register()
        service.settle()
        known = dependencies.config()
        gone = replace(known, environments=known.environments[1:])
        for module in (web, dependencies):
            monkeypatch.setattr(module, "config", lambda: gone)
        assert "dev has left the configuration" in service.look(1, "dev")
