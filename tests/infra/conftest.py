from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.synthesized import Template, synthesize
from tests.infra.test_endpoints import configured


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The stack of `tests/infra/promotion.toml`."""
    config = Path(__file__).parent / "promotion.toml"
    return synthesize(config, tmp_path_factory.mktemp("cdk"))


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """Endpoints, and environments in accounts of their own: the service's stack and one environment's."""
    folder = tmp_path_factory.mktemp("several")
    synthesize(configured(folder, "accounts.toml", "dev", "prod"), folder / "out")
    return {name: Template(folder / "out" / f"{name}.template.json") for name in ("promotion", "promotion-prod")}
