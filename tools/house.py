"""Measure the code base: rooms, arrows, layers, `Any`, missing docstrings and lines, into build/house.json.

`python -m tools.house` keeps what other targets have written into the file (`test_minutes`, `quick_minutes`, `outside_minutes`).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "house.json"
PACKAGES = ("promotion", "inference")
FOLDERS = ("promotion", "lambdas", "inference", "infra", "local", "tools", "examples", "benchmarks", "tests", "outside")
# Public functions and classes of these folders have docstrings in Google's form.
DOCUMENTED = (
    *(f"promotion/{name}" for name in ("client", "config", "domain", "ledger", "links", "workflows")),
    *(f"inference/{name}" for name in ("tasks", "serving", "scoring")),
)


def arrows(package: str) -> tuple[list[str], set[tuple[str, str]]]:
    """The direct children of a package, and the ordered pairs of them with an import (TYPE_CHECKING left out)."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    rooms = sorted(graph.find_children(package))

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    found = {
        (room(module), room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if module != package and imported != package
    }
    return rooms, {(one, other) for one, other in found if one != other}


def layers(rooms: list[str], found: set[tuple[str, str]]) -> tuple[int, int]:
    """The longest path through the rooms, in rooms, and how many arrows lead back up (those on a circle)."""
    below: dict[str, set[str]] = defaultdict(set)
    for one, other in found:
        below[one].add(other)
    depth: dict[str, int] = {}
    upward = 0

    def visit(room: str, path: tuple[str, ...]) -> int:
        nonlocal upward
        if room in path:
            upward += 1
            return 0
        if room not in depth:
            depth[room] = 1 + max((visit(other, (*path, room)) for other in sorted(below[room])), default=0)
        return depth[room]

    return max(visit(room, ()) for room in rooms), upward


def count_any(folders: tuple[str, ...]) -> int:
    """Count the uses of the name `Any` in the syntax trees of folders, imports left out."""
    return sum(
        isinstance(node, ast.Name) and node.id == "Any"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def missing_docstrings() -> int:
    """Count the findings of ruff's D rules (Google's convention) in the documented folders."""
    command = [
        "ruff",
        "check",
        "--select",
        "D",
        "--config",
        "lint.pydocstyle.convention='google'",
        "--output-format",
        "json",
    ]
    done = subprocess.run([*command, *DOCUMENTED], cwd=ROOT, capture_output=True, text=True, check=False)
    return len(json.loads(done.stdout))


def lines(folder: str) -> int:
    """Lines of Python in a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py"))


def measure() -> dict[str, object]:
    """All figures, by name."""
    figures: dict[str, object] = {"rooms": {}, "arrows": {}, "floors": {}, "upward": {}}
    for package in PACKAGES:
        rooms, found = arrows(package)
        floors, upward = layers(rooms, found)
        for name, value in (("rooms", len(rooms)), ("arrows", len(found)), ("floors", floors), ("upward", upward)):
            part = figures[name]
            assert isinstance(part, dict)
            part[package] = value
    figures["any_promotion_lambdas"] = count_any(("promotion", "lambdas"))
    figures["docstrings_missing"] = missing_docstrings()
    figures["lines"] = {folder: lines(folder) for folder in FOLDERS if (ROOT / folder).is_dir()}
    return figures


def main() -> None:
    """Write the figures and print them."""
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.is_file() else {}
    figures = {**known, **measure()}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    json.dump(figures, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
