"""The bundle of the functions' code, with dependencies for Lambda's processor and Python, built without Docker."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from promotion import names

# Wheels of both tags run on Lambda's Amazon Linux 2023, whose glibc is 2.34.
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
PYTHON = "3.13"
SOURCES = ("lambdas", "promotion")
LOCK = Path("lambdas", "requirements.txt")
# No function imports the command.
_LEFT_OUT = ("__pycache__", "cli", "requirements.in", "requirements.txt")
_KEPT = 3


def build(root: Path, config: Path, *, for_host: bool = False) -> Path:
    """Return a folder with everything that a function needs, named after its contents and built at most once.

    Dependencies are downloaded only if the lock has changed, so that a second synth makes no network call. `for_host`
    builds the bundle for this machine's Python instead.
    """
    kind = "host" if for_host else "lambda"
    target = root / "build" / "bundle"
    target.mkdir(parents=True, exist_ok=True)
    # With two synths at once, the second one waits and then finds the first one's bundle.
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built(root, config, target, kind)


def _built(root: Path, config: Path, target: Path, kind: str) -> Path:
    dependencies = target / f"{kind}-dependencies-{_digest({LOCK.name: root / LOCK})}"
    if not dependencies.exists():
        install(root / LOCK, dependencies, for_lambda=kind == "lambda")
    # By path, so that code that is moved is another bundle.
    files = {str(path.relative_to(root)): path for path in (*sources(root), root / LOCK)} | {names.CONFIG_FILE: config}
    code = target / f"{kind}-{_digest(files)}"
    if not code.exists():
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            made = Path(scratch) / "code"
            shutil.copytree(dependencies, made)
            for source in SOURCES:
                shutil.copytree(root / source, made / source, ignore=shutil.ignore_patterns(*_LEFT_OUT))
            shutil.copyfile(config, made / names.CONFIG_FILE)
            made.rename(code)
    # A bundle that is used becomes the newest, because only the newest ones are kept.
    code.touch()
    _forget(target, f"{kind}-????????????????")
    return code


def sources(root: Path) -> Iterator[Path]:
    """Return the service's own files in a bundle, in order."""
    for source in SOURCES:
        for path in sorted((root / source).rglob("*")):
            if path.is_file() and not set(path.relative_to(root).parts) & set(_LEFT_OUT):
                yield path


def install(lock: Path, into: Path, *, for_lambda: bool) -> None:
    """Install a lock into a folder, for Lambda or for the running Python.

    Raises:
        subprocess.CalledProcessError: pip failed; it has printed the reason.
    """
    options = ["--only-binary=:all:", "--no-deps", "--no-compile", "--require-hashes"]
    if for_lambda:
        options += ["--python-version", PYTHON, "--implementation", "cp"]
        options += [part for platform in PLATFORMS for part in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
    # Built in another folder and renamed, so that a folder of this name is always complete.
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        made = Path(scratch) / "site"
        subprocess.run([*command, "--target", str(made), "--requirement", str(lock)], check=True)
        for rubbish in [*made.rglob("__pycache__"), made / "bin"]:
            shutil.rmtree(rubbish, ignore_errors=True)
        made.rename(into)


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256(f"{PLATFORMS}|{PYTHON}".encode())
    for name, file in files.items():
        digest.update(f"|{name}|".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _forget(target: Path, pattern: str) -> None:
    """Remove all but the newest few bundles: each is 47 MB, and every code change makes a new one."""
    made = sorted(target.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in made[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
