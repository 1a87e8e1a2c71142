"""Every command, option and exit code is on its page, and the page knows no others."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import pytest

from promotion import cli, resolve
from promotion.cli.commands import command_parser

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    for action in command_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("the parser has no commands")


COMMANDS = commands()


def section(name: str) -> str:
    parts = re.split(r"^## `promotion ([\w-]+)[^\n]*\n", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


def documented(text: str) -> set[str]:
    return set(re.findall(r"^\| `(--[\w-]+)`", text, re.MULTILINE))


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")} - {"--help"}


def test_the_page_has_the_commands_that_there_are() -> None:
    assert set(re.findall(r"^## `promotion ([\w-]+)", PAGE, re.MULTILINE)) == set(COMMANDS)


COMMON = {"--json", "--config", "--region", "--profile"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_that_the_page_says(name: str) -> None:
    assert documented(section(name)) == options(COMMANDS[name]) - COMMON


def test_common_options_are_described_before_the_commands() -> None:
    assert documented(PAGE.split("\n## ", 1)[0]) == COMMON


@pytest.mark.parametrize("name", COMMANDS)
def test_required_arguments_are_in_the_heading(name: str) -> None:
    heading = next(line for line in PAGE.splitlines() if re.match(rf"## `promotion {name}\b", line))
    for action in COMMANDS[name]._actions:
        if not action.option_strings:
            wanted = action.metavar if isinstance(action.metavar, str) else " ".join(action.choices or ())
            # `gates explain` takes VERSION or leaves it out: `GROUP [VERSION] ENV`.
            assert wanted.replace("[", "").replace("]", "") in heading.replace("[", "").replace("]", "")


def test_every_exit_code_is_explained() -> None:
    codes = {0, cli.TROUBLE, cli.USAGE, cli.NOTHING_APPROVED, cli.BROKEN, cli.REFUSED}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)} == codes


def test_every_argument_of_resolve_is_explained() -> None:
    table = PAGE.split("\n### In Python\n", 1)[1].split("\n| raises", 1)[0]
    told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)))
    assert set(told) == set(inspect.signature(resolve).parameters) - {"group", "environment"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    assert [action.dest for action in COMMANDS[name]._actions if action.option_strings and not action.help] == []
