"""A later release: a copy of this one with a defaulted field more in every struct that it has."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_BASES = ("Struct", "msgspec.Struct", "_Payload", "_Command", "_InEnvironment", "Detail")


def make(home: Path) -> int:
    """Write the copy below `home`; the number of fields added."""
    for name in ("promotion", "tests"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "snapshots"))
    return sum(_add_fields(path) for path in sorted((home / "promotion").rglob("*.py")))


def read_by(home: Path, recording: Path) -> dict[str, Any]:
    """What the release below `home` makes of a recorded ledger.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledgers.reading", str(recording)],
        cwd=home, env={**os.environ, "PYTHONPATH": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def _add_fields(path: Path) -> int:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    structs = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) in _BASES for base in node.bases)
    ]
    for node in structs:
        # Under each struct's own name: a payload inherits one from its base.
        node.body += ast.parse(f"added_to_{node.name.lower().strip('_')}: str = 'by a later release'").body
    if structs:
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    return len(structs)
