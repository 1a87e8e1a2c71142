"""Every setting is on its page, and every setting on the page exists."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from promotion import config

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "Top level": config.Config,
    "`[mail]`": config.Mail,
    "`[identity]`": config.Identity,
    "`[[environments]]`": config.Environment,
    "`[[environments.gates]]`": config.Gate,
    "`[environments.endpoint]`": config.Endpoint,
    "`[operators]`": config.Operators,
    "`[break_glass]`": config.BreakGlass,
    "`[[freeze]]`": config.FreezeWindow,
    "`[registry]`": config.Registry,
    "`[artifacts]`": config.Artifacts,
    "`[inference]`": config.Inference,
    "`[web]`": config.Web,
    "`[drift]`": config.Drift,
    "`[[drift.monitors]]`": config.Monitor,
    "`[drift.retraining]`": config.Retraining,
    "`[channels]`": config.Channel,
}


def documented(title: str) -> set[str]:
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*)\|", section, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_has_the_settings_that_there_are(title: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(SECTIONS[title])}
    assert documented(title) == fields


def test_the_page_knows_every_section() -> None:
    assert set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) >= set(SECTIONS)
