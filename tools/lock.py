"""Write every lock of the repository, with hashes: `make lock`, or `make lock UPGRADE=1` to take the newest versions.

uv resolves for every platform and for Python 3.11 and newer. torch is in no lock (inference/torch.txt names its version, and it
is installed first and alone), so that no lock holds its CUDA packages. Without UPGRADE the versions that a lock has stay.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
TORCH = Path("inference", "torch.txt")
PRODUCT = Path("requirements.in")
# Deployed packages have the versions that the tests ran with.
DEPLOYED = (Path("lambdas", "requirements.in"), Path("inference", "requirements.in"))
OTHERS = (
    "tools/*/requirements.in",
    "benchmarks/**/requirements.in",
    "local/containers/requirements.in",
    "outside/*/requirements.in",
    "outside/locks/*.in",
)
OPTIONS = (
    *("--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"),
    *("--no-header", "--no-annotate", "--no-emit-index-url"),
)


def asked() -> Iterator[Path]:
    """Return every file of requirements, relative to the root; the product's first, as two others follow its lock."""
    yield from (PRODUCT, *DEPLOYED)
    for pattern in OTHERS:
        yield from (path.relative_to(ROOT) for path in sorted(ROOT.glob(pattern)))


def lock_of(wanted: Path) -> Path:
    """Path of the lock of such a file."""
    return wanted.with_suffix(".txt")


def command(uv: Path, wanted: Path, *, upgrade: bool) -> list[str]:
    """The command that writes one lock."""
    made = [
        str(uv),
        "pip",
        "compile",
        *OPTIONS,
        "--excludes",
        str(TORCH),
        "--output-file",
        str(lock_of(wanted)),
        str(wanted),
    ]
    if wanted in DEPLOYED:
        made += ["--constraints", str(lock_of(PRODUCT))]
    return [*made, "--upgrade"] if upgrade else made


def main() -> None:
    """Write every lock.

    Raises:
        subprocess.CalledProcessError: packages do not fit each other; uv has said which.
    """
    place = ROOT / "build" / "lock"
    if not (place / "bin" / "uv").exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", UV], check=True)
    for wanted in asked():
        print(f"{lock_of(wanted)}", flush=True)
        subprocess.run(
            command(place / "bin" / "uv", wanted, upgrade=bool(os.environ.get("UPGRADE"))), cwd=ROOT, check=True
        )
        lock = ROOT / lock_of(wanted)
        text = lock.read_text(encoding="utf-8")
        if re.search(r"https?://|--(extra-)?index|^(torch|nvidia|triton)\b", text, re.MULTILINE):
            sys.exit(f"{lock_of(wanted)} names an index, or torch's own packages: nothing here may.")
        lock.write_text(f"# Written by `make lock` from {wanted.as_posix()}.\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
