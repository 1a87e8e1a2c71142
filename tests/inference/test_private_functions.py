"""Private functions of libraries are called where docs/decisions names them with a reason, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "inference").rglob("*.py"))}
[PAGE] = (ROOT / "docs" / "decisions").glob("*-private-functions-of-libraries.md")
PRIVATE = re.compile(r"_[a-z]\w*")
# Python's own: no other way ends a process at once.
PYTHONS = {"_exit"}


def listed() -> set[str]:
    """The names in the page's table."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    names = {name.rpartition(".")[2] for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    return names & {name for name in names if PRIVATE.fullmatch(name)} | {"_dynamo"}


def own(tree: ast.AST) -> Iterator[str]:
    """Private names that the package itself defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def used(tree: ast.AST) -> Iterator[str]:
    """Private names that are read of an object, also by getattr and hasattr."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            yield from (
                part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )


def test_private_functions_of_libraries_are_called_for_a_listed_reason() -> None:
    trees = [ast.parse(text) for text in SOURCES.values()]
    defined = {name for tree in trees for name in own(tree)}
    found = {name for tree in trees for name in used(tree) if PRIVATE.fullmatch(name)} - defined - PYTHONS

    assert found <= listed()


def test_each_on_the_list_is_called() -> None:
    assert [name for name in listed() if not any(name in text for text in SOURCES.values())] == []
