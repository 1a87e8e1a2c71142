"""Every setting is on its page and in its table, and every setting on the page exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from promotion.config import settings
from promotion.config.advanced import EXPERT
from promotion.config.signing_settings import FormerKey, Signing

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
MOST = 50
# Sections with settings outside [advanced], as the first table names them.
SECTIONS: dict[str, tuple[tuple[str, ...], type[msgspec.Struct]]] = {
    "top level": ((), settings.Config),
    "`[mail]`": (("mail",), settings.Mail),
    "`[identity]`": (("identity",), settings.Identity),
    "`[[environments]]`": (("environments", "*"), settings.Environment),
    "`[[environments.gates]]`": (("environments", "*", "gates"), settings.Gate),
    "`[operators]`": (("operators",), settings.Operators),
    "`[break_glass]`": (("break_glass",), settings.BreakGlass),
    "`[[freeze]]`": (("freeze",), settings.FreezeWindow),
    "`[registry]`": (("registry",), settings.Registry),
    "`[artifacts]`": (("artifacts",), settings.Artifacts),
    "`[inference]`": (("inference",), settings.Inference),
    "`[groups_override.PATTERN.inference]`": (("groups_override", "*", "inference"), settings.Evaluation),
    "`[history]`": (("history",), settings.HistorySettings),
    "`[channels.NAME]`": (("channels", "*"), settings.Channel),
}
# Fields that are sections of their own.
NESTED = {("environments", "*"): {"gates"}, (): {"mail", "identity", "environments", "operators", "break_glass", "freeze",
          "registry", "artifacts", "inference", "groups_override", "history", "channels"}}  # fmt: skip
ADVANCED: dict[str, tuple[str, ...] | type[msgspec.Struct]] = {
    "`[advanced]` itself": (),
    "`[advanced.mail]`": ("mail",),
    "`[advanced.identity]`": ("identity",),
    "`[advanced.environments.NAME]`": ("environments", "*"),
    "`[advanced.environments.NAME.decision]`": settings.Decision,
    "`[advanced.environments.NAME.endpoint]`": settings.Endpoint,
    "`[advanced.artifacts]`": ("artifacts",),
    "`[advanced.inference]`": ("inference",),
    "`[advanced.groups_override.PATTERN.inference]`": ("groups_override", "*", "inference"),
    "`[advanced.channels.NAME]`": ("channels", "*"),
    "`[advanced.web]`": settings.Web,
    "`[advanced.drift]`": settings.Drift,
    "`[[advanced.drift.monitors]]`": settings.Monitor,
    "`[advanced.drift.retraining.PATTERN]`": settings.Retraining,
    "`[advanced.signing]`": Signing,
    "`[[advanced.signing.former]]`": FormerKey,
}


def fields(struct: type[msgspec.Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(struct)}


def first_table() -> Iterator[tuple[str, str]]:
    """Section and name of each setting of the page's first table."""
    section = ""
    for line in PAGE.split("|---|\n", 1)[1].split("\n\n", 1)[0].splitlines():
        named, setting = line.split("|")[1:3]
        section = named.strip() or section
        yield from ((section, name) for name in re.findall(r"`(\w+)`", setting))


def documented(title: str) -> set[str]:
    section = PAGE.split(f"### {title}\n", 1)[1].split("\n##", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*)\|", section, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_first_table_has_every_setting_outside_advanced() -> None:
    there = {
        (title, name)
        for title, (section, struct) in SECTIONS.items()
        for name in fields(struct) - set(EXPERT.get(section, ())) - NESTED.get(section, set())
    }
    assert set(first_table()) == there
    assert len(there) <= MOST
    assert len(list(first_table())) == len(there)


@pytest.mark.parametrize("title", ADVANCED)
def test_each_table_of_advanced_has_the_settings_that_there_are(title: str) -> None:
    section = ADVANCED[title]
    there = set(EXPERT[section]) - {"drift", "signing", "web"} if isinstance(section, tuple) else fields(section)
    assert documented(title) == there


def choices(kind: object) -> Iterator[str]:
    """The words that a setting of this type may have."""
    if get_origin(kind) is Literal:
        yield from (word for word in get_args(kind) if isinstance(word, str))
    for part in get_args(kind):
        yield from choices(part)


STRUCTS = [struct for _, struct in SECTIONS.values()] + [each for each in ADVANCED.values() if isinstance(each, type)]


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_each_word_that_a_setting_may_have_is_in_its_row(struct: type[msgspec.Struct]) -> None:
    for name, kind in get_type_hints(struct).items():
        rows = [line for line in PAGE.splitlines() if line.startswith("|") and re.search(rf"`{name}`", line)]
        assert [word for word in choices(kind) if not any(f'"{word}"' in row for row in rows)] == [], name


def test_the_page_knows_every_section_of_advanced() -> None:
    titles = set(re.findall(r"^### (`\[\[?advanced.+)$", PAGE, re.MULTILINE))
    assert titles == set(ADVANCED)


def test_every_setting_for_experts_is_a_setting() -> None:
    known = dict(SECTIONS.values())
    known["groups_override", "*", "environments", "*"] = settings.EnvironmentOverride
    for section, names in EXPERT.items():
        assert set(names) <= fields(known[section]), section


def place(written: str) -> tuple[str, ...]:
    """A section as UPGRADING.md writes it, as the code has it: any name is `*`."""
    if written == "top level":
        return ()
    parts = written.strip("`[]").split(".")
    several = ["*"] if written.startswith("`[[") else []
    return (*("*" if part.isupper() else part for part in parts), *several)


def test_upgrading_has_the_old_and_new_place_of_each_setting_for_experts() -> None:
    text = (Path(__file__).parents[2] / "UPGRADING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (top level|`\[.*?\]`) \| (`\[advanced.*?\]`) \| (.+) \|$", text, re.MULTILINE)
    assert [("advanced", *place(old)) for old, _, _ in rows] == [place(new) for _, new, _ in rows]
    assert {place(old): set(re.findall(r"`(\w+)`", named)) for old, _, named in rows} == {
        section: set(names) for section, names in EXPERT.items()
    }
