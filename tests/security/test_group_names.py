"""Files whose tests share a service register models of their own names: which files meet in a process is chance."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent
SHARED = ("browser", "security")


def registered(tree: ast.AST) -> Iterator[str]:
    """Yield the literal group of each call of `register`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="register"), args=[ast.Constant(value=str(group)), *_]):
                yield group


def test_no_group_is_registered_by_two_files() -> None:
    files: dict[str, set[str]] = defaultdict(set)
    for path in (path for folder in SHARED for path in (TESTS / folder).glob("*.py")):
        for group in registered(ast.parse(path.read_text(encoding="utf-8"))):
            files[group].add(path.name)
    assert {group: names for group, names in files.items() if len(names) > 1} == {}
    assert files["superseded"] == {"attacked.py"}
