"""Run the product against foreign software: `python outside/run.py [--all] [SUITE …]`, standard library alone.

A suite is a folder beside this file with a `suite.toml`. Two run side by side, each in an environment of its own, which is kept
under ~/.cache/promotion-outside/ by the digest of its lock. CONTRIBUTING.md says what a suite is made of.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
SUITES = ROOT / "outside"
LOGS = ROOT / "build" / "outside"
PRODUCT = ROOT / ".venv" / "bin" / "python"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion-outside"
SIDE_BY_SIDE = 2
_TAIL = 60
# Seconds for a suite to stop the processes that it started.
_GRACE_S = 30
_running: set[int] = set()


@dataclass(frozen=True)
class Suite:
    """A suite as its `suite.toml` describes it.

    Attributes:
        name: the folder's.
        about: a line for people.
        minutes: the limit of its run, set-up left out.
        run: the command, started in the repository's root; `{python}` is the suite's own interpreter, `{product}` the product's.
        all: the command of `make test-outside-all`, where it is another one.
        sample: whether `make test-outside` runs it; otherwise only `make test-outside-all`, or by its name.
        torch: install the product's torch first and alone, before the lock.
        system: Debian packages that it needs, as {command on PATH, or a file's pattern: package}.
    """

    name: str
    about: str
    minutes: float
    run: tuple[str, ...]
    all: tuple[str, ...] = ()
    sample: bool = True
    torch: bool = False
    system: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return SUITES / self.name

    @property
    def lock(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def is_locked(self) -> bool:
        """Return True if a lock with hashes names Python packages."""
        return self.lock.exists() and "--hash=" in self.lock.read_text(encoding="utf-8")

    @property
    def node_lock(self) -> Path:
        """The lock of the suite's npm packages, if it needs any."""
        return self.folder / "package-lock.json"


@dataclass(frozen=True)
class Result:
    """The result of a suite."""

    suite: Suite
    failure: str
    minutes: float


def read(folder: Path) -> Suite:
    """Read the suite of a folder.

    Raises:
        SystemExit: it is not one, with what is wrong.
    """
    file = folder / "suite.toml"
    try:
        said: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        commands: dict[str, Any] = {key: tuple(value) for key, value in said.items() if isinstance(value, list)}
        return Suite(name=folder.name, **{**said, **commands})
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise SystemExit(f"{file}: {error}") from error


def suites() -> list[Suite]:
    """Every suite, the one with the highest limit first, so that it doesn't run alone at the end."""
    return sorted((read(file.parent) for file in SUITES.glob("*/suite.toml")), key=lambda suite: -suite.minutes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites and say how each ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every family, layout and variant, not the sample")
    parser.add_argument("names", nargs="*", metavar="SUITE", help="these only")
    options = parser.parse_args(arguments)
    found = suites()
    if unknown := set(options.names) - {suite.name for suite in found}:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}: {', '.join(sorted(one.name for one in found))}")
    chosen = [
        suite for suite in found if (suite.name in options.names if options.names else suite.sample or options.all)
    ]
    provide(chosen)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        try:
            results = list(pool.map(lambda suite: attempt(suite, everything=options.all), chosen))
        except KeyboardInterrupt:
            # A suite is a session of its own, which a signal to this one doesn't reach.
            pool.shutdown(wait=False, cancel_futures=True)
            for leader in tuple(_running):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(leader, signal.SIGINT)
            raise
    failed = [result for result in results if result.failure]
    print(f"outside: {len(results) - len(failed)} of {len(results)} suites passed", flush=True)
    return 1 if failed else 0


def provide(chosen: Sequence[Suite]) -> None:
    """Install the Debian packages that the suites need, once, before any of them starts."""
    missing = {package for suite in chosen for needed, package in suite.system.items() if not is_there(needed)}
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"Install these first: {' '.join(sorted(missing))}")
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)  # type: ignore[call-overload]
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *sorted(missing)]
    subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]


def is_there(needed: str) -> bool:
    """Return True if a command is on PATH, or a file matches a pattern with a slash: libraries have no command."""
    return any(Path("/").glob(needed.lstrip("/"))) if "/" in needed else shutil.which(needed) is not None


def attempt(suite: Suite, *, everything: bool) -> Result:
    """Set one suite up and run it, its output in build/outside/; what went wrong is printed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{suite.name}.log"
    start = time.monotonic()
    with log.open("w") as output:
        try:
            with environment(suite, output) as python:
                ready = time.monotonic()
                failure = execute(suite, python, output, everything=everything)
        except subprocess.CalledProcessError as error:
            ready, failure = time.monotonic(), f"its environment could not be set up (exit {error.returncode})"
    minutes = (time.monotonic() - start) / 60
    print(
        f"outside/{suite.name}: {failure or 'passed'}, {minutes:.1f} minutes, of which set-up {(ready - start) / 60:.1f}",
        flush=True,
    )
    if failure:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL:]
        print("\n".join(f"  {suite.name} | {line}" for line in lines), flush=True)
    return Result(suite, failure, minutes)


@contextlib.contextmanager
def environment(suite: Suite, output: IO[str]) -> Iterator[Path]:
    """The suite's interpreter, with exactly its locks installed; the product's where the suite has none with hashes.

    Raises:
        subprocess.CalledProcessError: pip could not; the log has why.
    """
    if not suite.is_locked and not suite.node_lock.exists():
        yield PRODUCT
        return
    place = CACHE / f"{suite.name}-{digest(suite)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = place / "bin" / "python"
        if not (place / "whole").exists():
            install(suite, place, output)
            (place / "whole").touch()
    yield python


def install(suite: Suite, place: Path, output: IO[str]) -> None:
    """Make the environment anew, from the lock alone."""
    shutil.rmtree(place, ignore_errors=True)

    def run(*command: str | Path) -> None:
        subprocess.run([str(part) for part in command], check=True, stdout=output, stderr=output)

    run(sys.executable, "-m", "venv", place)
    pip = (place / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    if suite.torch:
        run(*pip, torch())
    if suite.is_locked:
        run(*pip, "--require-hashes", "--no-deps", "--requirement", suite.lock)
    if suite.node_lock.exists():
        for file in (suite.node_lock, suite.node_lock.with_name("package.json")):
            shutil.copy(file, place)
        run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", place)


def torch() -> str:
    """The product's own torch: alone, pip takes the CPU build where the index has one."""
    return (ROOT / "inference" / "torch.txt").read_text(encoding="utf-8").strip()


def digest(suite: Suite) -> str:
    """Return the identifier of an environment: the digest of its locks, its torch, and its Python version."""
    made_of = f"{sys.version_info[:2]}|{torch() if suite.torch else ''}|".encode()
    made_of += suite.lock.read_bytes() if suite.is_locked else b""
    made_of += suite.node_lock.read_bytes() if suite.node_lock.exists() else b""
    return hashlib.sha256(made_of).hexdigest()[:16]


def execute(suite: Suite, python: Path, output: IO[str], *, everything: bool) -> str:
    """Run the suite; empty when it passed, else what went wrong."""
    places = {"{python}": str(python), "{product}": str(PRODUCT)}
    command = suite.all if everything and suite.all else suite.run
    process = subprocess.Popen(
        [places.get(part, part) for part in command],
        cwd=ROOT,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env={**os.environ, "OUTSIDE_PYTHON": str(python), "OUTSIDE_ALL": "1" if everything else ""},
    )
    _running.add(process.pid)
    try:
        code = process.wait(suite.minutes * 60)
        return f"failed (exit {code})" if code else ""
    except subprocess.TimeoutExpired:
        return f"stopped at its limit of {suite.minutes} minutes"
    finally:
        for sign in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        _running.discard(process.pid)


if __name__ == "__main__":
    # A shell's background job inherits an ignored SIGINT, by which a suite could not be asked to clean up.
    for _sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_sign, signal.default_int_handler)
    sys.exit(main())
