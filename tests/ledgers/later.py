"""A later release: a copy of this one with a defaulted field more in every struct that it has."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from promotion.domain.model import FOLD_VERSION

ROOT = Path(__file__).parents[2]
_BASES = ("Struct", "msgspec.Struct", "_Payload", "_Command", "_InEnvironment", "Detail")


def make(home: Path, *, folds_otherwise: bool = False) -> int:
    """Write the copy below `home`; the number of fields added. `folds_otherwise`: with the next FOLD_VERSION."""
    for name in ("promotion", "tests"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "snapshots"))
    added = sum(_add_fields(path) for path in sorted((home / "promotion").rglob("*.py")))
    if folds_otherwise:
        path = home / "promotion" / "domain" / "model.py"
        text, changes = re.subn(
            r"(FOLD_VERSION(?:: \w+)? = )\d+", rf"\g<1>{FOLD_VERSION + 1}", path.read_text(encoding="utf-8")
        )
        assert changes == 1
        path.write_text(text, encoding="utf-8")
    return added


def read_by(home: Path, recording: Path) -> dict[str, Any]:
    """Return the report of the release below `home` on a recorded ledger."""
    return dict(json.loads(_run(home, "reading", str(recording))))


def go_on(home: Path, before: Path, after: Path, version: int) -> None:
    """Have the release below `home` promote `version` on the ledger in `before`, and write the ledger into `after`."""
    _run(home, "going_on", str(before), str(after), str(version))


def _run(home: Path, program: str, *arguments: str) -> str:
    """Run a program of tests/ledgers with the code below `home`; return what it printed.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    path = os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", f"tests.ledgers.{program}", *arguments],
        cwd=home, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


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
