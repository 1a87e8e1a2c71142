"""Every route, refusal, JSON field and environment variable is on its page, and the pages know no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from promotion import names
from tests.rules import scenarios
from tests.rules.scenario import ANN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
# What is deployed, as tests/infra/test_template.py holds it: no need to synthesize it here.
TEMPLATE = (ROOT / "tests" / "infra" / "template.snapshot.txt").read_text(encoding="utf-8")


def section(title: str, page: str = PAGE) -> str:
    return page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str) -> set[str]:
    cells = re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_has_the_routes_that_there_are() -> None:
    deployed = set(re.findall(r'RouteKey: "([^"]+)"', TEMPLATE))
    gets = {route.removeprefix("GET ") for route in deployed if route.startswith("GET ")}
    assert {route.removeprefix("HEAD ") for route in deployed if route.startswith("HEAD ")} == gets
    assert first_cells(section("Routes")) == {route for route in deployed if not route.startswith("HEAD ")}


def test_every_code_of_an_error_is_explained() -> None:
    sources = [
        path.read_text(encoding="utf-8") for room in ("promotion", "lambdas") for path in (ROOT / room).rglob("*.py")
    ]
    raised = set(re.findall(r'(?:\bcode=|_refused\(\s*|_moved_on\(\s*)"(\w+)"', "\n".join(sources)))
    raised |= set(re.findall(r'return say\([\w.]+, "[^"]*", "(\w+)"\)', "\n".join(sources)))
    told = first_cells(section("Errors in JSON")) - {"error"}
    beside = set(re.findall(r"`(\w+)`", section("Errors in JSON").split("| `error`")[0]))
    # A mail's, never an answer's.
    assert raised - {"run"} == (told | beside) - {"error", "message", "why_not", "who_may", "confirm"}
    assert not told & beside


def documents() -> dict[str, dict[str, Any]]:
    scenario = scenarios.open_gate()
    return {
        "A request": scenario.request("test", 2, ANN),
        "The board": scenario.board(ANN),
        "A group": scenario.model(ANN),
        "A version": scenario.version(2, ANN),
    }


@pytest.mark.parametrize("what", ["A request", "The board", "A group", "A version"])
def test_json_has_the_fields_that_the_page_says(what: str) -> None:
    assert first_cells(section(f"{what} as JSON")) == set(documents()[what])


def test_every_environment_variable_is_explained() -> None:
    source = (ROOT / "promotion" / "names.py").read_text()
    block = source.split("# Environment variables of the functions.\n", 1)[1].split("\n\n", 1)[0]
    variables = set(re.findall(r'Final = "(\w+)"', block))
    assert names.LEDGER_TABLE in variables
    assert first_cells(section("Environment variables", OPERATIONS)) >= variables


def test_each_variable_has_the_functions_that_read_it() -> None:
    tree = ast.parse((ROOT / "infra" / "grants.py").read_text(encoding="utf-8"))
    [table] = [
        each.value for each in tree.body if isinstance(each, ast.AnnAssign) and ast.unparse(each.target) == "TOLD"
    ]
    assert isinstance(table, ast.Dict)
    given = {
        ast.literal_eval(key): {
            getattr(names, each.attr) for each in ast.walk(value) if isinstance(each, ast.Attribute)
        }
        for key, value in zip(table.keys, table.values, strict=True)
        if key is not None
    }
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section("Environment variables", OPERATIONS), re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", cell)) & set(given) for name, cell in rows if cell.startswith("`")}
    wanted = {name: {function for function, told in given.items() if name in told} for name in named}
    assert {name: functions for name, functions in named.items() if wanted[name]} == {
        name: functions for name, functions in wanted.items() if functions
    }
