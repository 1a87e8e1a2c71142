"""`python -m outside.python313`: the product under the Python that Lambda runs, where the other tests run under 3.11.

The interpreter is `python3.13` from PATH, else Debian trixie's, in a chroot that debootstrap makes once. Packages come from
locks by `pip install --target`, as the bundle of the functions is made, so that the chroot needs no network.
Tests that start the local service (tests/security) need the CDK and Node, and run under 3.11 alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infra import bundle
from infra.functions import SIZES

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion-outside"
LOCK = Path(__file__).with_name("requirements.txt")
TESTS = ("tests/rules", "tests/adapters", "tests/cli")
LEFT_OUT = {
    "tests/rules/test_archive_programs.py": "unpacks with inference/, which needs torch",
    "tests/rules/test_sbom.py": "reads what the product's whole environment says of itself",
}
COPIED = shutil.ignore_patterns(".*", "node_modules", "build", "cdk.out", "__pycache__", "dist", "*.egg-info")
TAGS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
DEBIAN, NAME = "trixie", f"python{bundle.PYTHON}"

# Runs the interpreter with arguments on a search path, in the repository's root; returns the exit status.
Run = Callable[[list[str], list[str]], int]


def main() -> int:
    """Import every handler, then run the tests; returns the first exit status that is not 0."""
    everything, functions = installed(LOCK), installed(ROOT / bundle.LOCK)
    with tempfile.TemporaryDirectory() as scratch:
        run, places = here(everything, functions) or in_chroot(everything, functions, Path(scratch))
        tests, alone, root = places
        handlers = ", ".join(f"lambdas.handlers.{module}" for module in SIZES)
        statement = f"import sys; sys.path[:0] = [{alone!r}, {root!r}]; print(sys.version); import {handlers}"
        if failed := run(["-I", "-S", "-c", statement], []):
            return failed
        print(f"{len(SIZES)} handlers imported from the bundle's packages alone", flush=True)
        left_out = [f"--ignore={path}" for path in LEFT_OUT]
        return run(["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *TESTS, *left_out], [tests, root])


def installed(lock: Path) -> Path:
    """A folder with the packages of a lock for this suite's Python, made once.

    Raises:
        subprocess.CalledProcessError: pip could not; it has said why.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    place = CACHE / f"{NAME}-{lock.parent.name}-{digest}"
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            options = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-deps", "--require-hashes"]
            tags = [part for tag in TAGS for part in ("--platform", tag)]
            target = ["--python-version", bundle.PYTHON, "--implementation", "cp", *tags, "--target", f"{scratch}/site"]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, *target, "-r", lock], check=True)
            Path(scratch, "site").rename(place)
    return place


def here(*sites: Path) -> tuple[Run, list[str]] | None:
    """Run with the interpreter on PATH, where there is one; with the folders' and the repository's paths as it sees them."""
    found = shutil.which(NAME)
    # A version manager puts commands on PATH for versions that are not installed.
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        return None

    def run(arguments: list[str], path: list[str]) -> int:
        return subprocess.run([found, *arguments], cwd=ROOT, env=environment(path), check=False).returncode

    return run, [*map(str, sites), str(ROOT)]


def in_chroot(*sites_and_scratch: Path) -> tuple[Run, list[str]]:
    """Run with Debian's interpreter in a copy of its base system, and of the repository.

    Raises:
        SystemExit: this is neither root nor has debootstrap.
        subprocess.CalledProcessError: debootstrap could not; it has said why.
    """
    *sites, scratch = sites_and_scratch
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit(f"Install {NAME} and put it on PATH: a chroot takes root and debootstrap.")
    base = CACHE / f"debian-{DEBIAN}"
    if not base.exists():
        made = base.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        options = ["--variant=minbase", "--include=python3,ca-certificates,tzdata"]
        subprocess.run(["debootstrap", *options, DEBIAN, made], check=True, stdout=subprocess.DEVNULL)
        made.rename(base)
    root = scratch / "root"
    shutil.copytree(base, root, symlinks=True, ignore=shutil.ignore_patterns("dev", "proc", "sys"))
    for name in ("dev", "proc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    for site in sites:
        shutil.copytree(site, root / site.name)
    shutil.copytree(ROOT, root / "repository", ignore=COPIED)
    mounts = [("/dev", root / "dev"), ("/proc", root / "proc")]

    def run(arguments: list[str], path: list[str]) -> int:
        for source, target in mounts:
            subprocess.run(["mount", "--rbind", source, target], check=True)
        try:
            command = ["chroot", str(root), "/usr/bin/env", "-C", "/repository", f"/usr/bin/{NAME}", *arguments]
            return subprocess.run(command, env={**environment(path), "HOME": "/tmp"}, check=False).returncode
        finally:
            for _, target in mounts:
                with suppress(subprocess.CalledProcessError):
                    subprocess.run(["umount", "--recursive", "--lazy", target], check=True)

    return run, [*(f"/{site.name}" for site in sites), "/repository"]


def environment(path: list[str]) -> dict[str, str]:
    """The variables of a run: nothing of this interpreter's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "AWS_"))}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


if __name__ == "__main__":
    sys.exit(main())
