"""Every setting is on its page, and every setting on the page exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from promotion.config import settings
from promotion.config.signing_settings import FormerKey, Signing

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "Top level": settings.Config,
    "`[mail]`": settings.Mail,
    "`[identity]`": settings.Identity,
    "`[[environments]]`": settings.Environment,
    "`[[environments.gates]]`": settings.Gate,
    "`[environments.decision]`": settings.Decision,
    "`[environments.endpoint]`": settings.Endpoint,
    "`[operators]`": settings.Operators,
    "`[break_glass]`": settings.BreakGlass,
    "`[[freeze]]`": settings.FreezeWindow,
    "`[registry]`": settings.Registry,
    "`[signing]`": Signing,
    "`[[signing.former]]`": FormerKey,
    "`[artifacts]`": settings.Artifacts,
    "`[inference]`": settings.Inference,
    "`[groups_override.PATTERN.inference]`": settings.Evaluation,
    "`[web]`": settings.Web,
    "`[drift]`": settings.Drift,
    "`[[drift.monitors]]`": settings.Monitor,
    "`[drift.retraining]`": settings.Retraining,
    "`[channels]`": settings.Channel,
}


def documented(title: str) -> set[str]:
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*)\|", section, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("title", SECTIONS)
def test_the_page_has_the_settings_that_there_are(title: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(SECTIONS[title])}
    assert documented(title) == fields


def choices(kind: object) -> Iterator[str]:
    """The words that a setting of this type may have."""
    if get_origin(kind) is Literal:
        yield from (word for word in get_args(kind) if isinstance(word, str))
    for part in get_args(kind):
        yield from choices(part)


@pytest.mark.parametrize("title", SECTIONS)
def test_each_word_that_a_setting_may_have_is_in_its_section(title: str) -> None:
    section = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    words = {word for kind in get_type_hints(SECTIONS[title]).values() for word in choices(kind)}
    assert {word for word in words if f'"{word}"' not in section} == set()


def test_the_page_knows_every_section() -> None:
    assert set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) >= set(SECTIONS)
