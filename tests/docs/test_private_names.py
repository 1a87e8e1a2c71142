"""Tests reach into nothing private: they patch, import and read public names, of the product and of each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("tests", "outside") for path in (ROOT / folder).rglob("*.py"))
PRIVATE = re.compile(r"_(?!_)\w+")
# Calls that take the name of what they replace or read as text.
BY_NAME = {"setattr", "delattr", "getattr", "hasattr", "patch", "object"}
# Private names of libraries, each with the reason why nothing public does.
OF_LIBRARIES = {
    "_SubParsersAction": "argparse has no list of a parser's commands",
    "_actions": "argparse has no list of a parser's options",
    "_exit": "os._exit is public",
    "_make_api_call": "every call of every boto3 client comes through here",
    "_model_mapping": "transformers has no public list of the models of an Auto class",
    "_flash_attention_forward": "the product calls it: docs/decisions/031-private-functions-of-libraries.md",
    "_schema": "torch tells an operator's arguments nowhere else",
    "_split_scope": "pytest-xdist has no other way to say which files go to one worker",
    "_python_dispatch": "torch's way to see each operation",
    "_pytree": "torch's way to see each tensor in nested arguments",
    "_execute_function_with_config_scope": "ministack has no hook for a function's event",
    "_resolve_condition_key": "ministack has no hook for a condition key",
    "_lambda_function_for_cfn_ref": "ministack has no public look-up of a template's function",
    "_RESOURCE_HANDLERS": "ministack has no hook for a type of resource",
}


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each private name that a file imports, reads, writes or patches."""
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            found = [] if own else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            found = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            found = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            found = [text.rpartition(".")[2] for text in texts] if name in BY_NAME else []
        for name in found:
            if PRIVATE.fullmatch(name):
                yield node.lineno if isinstance(node, ast.stmt | ast.expr) else 0, name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from promotion.cli.reading import _cell", ["_cell"]),
        ('monkeypatch.setattr(engine, "_forward", small)', ["_forward"]),
        ('monkeypatch.setattr("promotion.client.resolve._cache", {})', ["_cache"]),
        ("engine._on_cuda = True", ["_on_cuda"]),
        ("assert service.run()._kept is None", ["_kept"]),
        ("self._kept = 1", []),
        ("found.__dict__", []),
        ('monkeypatch.setattr(reading, "ledger", fake)', []),
    ],
)
def test_private_names_are_found(text: str, found: list[str]) -> None:
    assert [name for _, name in private_names(ast.parse(text))] == found


def test_no_test_uses_a_private_name() -> None:
    used = {
        (f"{path.relative_to(ROOT)}:{line}", name)
        for path in FILES
        for line, name in private_names(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert [f"{place}: {name}" for place, name in sorted(used) if name not in OF_LIBRARIES] == []
    assert OF_LIBRARIES.keys() == {name for _, name in used}, "an exception that nothing needs is taken out"
