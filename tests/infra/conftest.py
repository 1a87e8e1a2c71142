from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.synthesized import Template, synthesize


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The stack of `tests/infra/promotion.toml`."""
    config = Path(__file__).parent / "promotion.toml"
    return synthesize(config, tmp_path_factory.mktemp("cdk"))
