"""The template that `app.py` synthesizes for a configuration, cached until one of its inputs changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from promotion import names

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "local" / "synth"
_MOST_KEPT = 8
_INPUTS = (
    "app.py",
    "cdk.json",
    "infra/**/*",
    *(f"promotion/{name}.py" for name in ("__init__", "config/*", "errors", "names")),
    "requirements.txt",
)


class SynthFailed(Exception):
    """`app.py` did not synthesize; has its output."""


def template(config: Path) -> dict[str, Any]:
    """Return the synthesized template without the functions' bundle, because they run from source.

    Raises:
        SynthFailed: `app.py` failed; has its output.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / f"{_digest(config)}.json"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            text = _synthesize(config)
            kept.write_text(text, encoding="utf-8")
            for old in sorted(CACHE.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_MOST_KEPT]:
                old.unlink()
        document: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return document


def _synthesize(config: Path) -> str:
    outdir = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "app.py"],
            cwd=ROOT,
            env={
                **os.environ,
                "PROMOTION_CONFIG": str(config.resolve()),
                "CDK_OUTDIR": str(outdir),
                "CDK_CONTEXT_JSON": json.dumps({"bundle": "false", "nag": "false"}),
                "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
                "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
                "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        templates = sorted(outdir.glob("*.template.json"))
        if done.returncode or not templates:
            raise SynthFailed(f"app.py did not synthesize a template:\n{done.stdout}{done.stderr}")
        return templates[0].read_text(encoding="utf-8")
    finally:
        shutil.rmtree(outdir, ignore_errors=True)


def _digest(config: Path) -> str:
    digest = hashlib.sha256(config.read_bytes())
    digest.update(f"{names.PREFIX}={os.environ.get(names.PREFIX, '')};".encode())
    for path in inputs():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def inputs() -> list[Path]:
    """Return the files from which a template is made, besides its configuration."""
    found = [path for pattern in _INPUTS for path in sorted(ROOT.glob(pattern))]
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]
