"""What is uploaded for the functions: light, for the right processor, and importable without anything else."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bundle
from infra.functions import SIZES
from tests.infra.synthesized import ROOT

MOST_MB = 30
AARCH64 = 183  # e_machine: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
CONFIG = Path(__file__).parent / "promotion.toml"


@pytest.fixture(scope="session")
def target() -> Path:
    """The bundle as it is uploaded."""
    return bundle.build(ROOT, CONFIG)


@pytest.fixture(scope="session")
def twin() -> Path:
    """The same lock and sources, for this machine."""
    return bundle.build(ROOT, CONFIG, for_host=True)


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's runtime brings: boto3 and what it stands on, in a folder of its own."""
    brought = {"boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3"}
    lock = tmp_path_factory.mktemp("runtime") / "requirements.txt"
    lock.write_text("\n".join(line for name, line in pinned("requirements.txt").items() if name in brought))
    into = ROOT / "build" / "bundle" / "runtime"
    if not into.exists():
        bundle.install(lock, into, for_lambda=False)
    return into


def pinned(lock: str) -> dict[str, str]:
    """Normalised name → line of a lock."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line for line in lines if "==" in line}


def imported(twin: Path, runtime: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Runs a statement in an interpreter that sees the bundle, the runtime and the standard library alone."""
    script = f"import sys; sys.path[:0] = [{str(twin)!r}, {str(runtime)!r}]; {statement}"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=twin,
        env={"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "promotion"},
    )


@pytest.mark.parametrize("module", SIZES)
def test_a_function_imports_from_its_bundle_alone(twin: Path, runtime: Path, module: str) -> None:
    finished = imported(twin, runtime, f"from lambdas.handlers.{module} import handler; assert callable(handler)")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("module", SIZES)
def test_a_cold_start_imports_nothing_that_only_a_sign_in_or_a_chat_needs(
    twin: Path, runtime: Path, module: str
) -> None:
    heavy = "{'requests', 'authlib', 'joserfc'} & set(sys.modules)"
    finished = imported(twin, runtime, f"import lambdas.handlers.{module}; assert not {heavy}, {heavy}")
    assert finished.returncode == 0, finished.stderr


def test_the_clean_interpreter_sees_nothing_of_this_environment(twin: Path, runtime: Path) -> None:
    finished = imported(twin, runtime, "import moto")
    assert "ModuleNotFoundError" in finished.stderr


def test_extensions_are_built_for_lambdas_processor_and_python(target: Path) -> None:
    extensions = sorted(target.rglob("*.so"))
    assert extensions
    for extension in extensions:
        header = extension.read_bytes()[:20]
        assert header[:4] == b"\x7fELF", extension.name
        assert struct.unpack("<H", header[18:20])[0] == AARCH64, extension.name
        if "cpython" in extension.name:
            assert ".cpython-313-" in extension.name, extension.name
    tags = [line for wheel in target.glob("*.dist-info/WHEEL") for line in wheel.read_text().splitlines()]
    for tag in (line.removeprefix("Tag: ") for line in tags if line.startswith("Tag: ")):
        python, abi, platform = tag.split("-")
        assert abi in ("none", "cp313", "abi3"), tag
        assert platform == "any" or platform.endswith("aarch64"), tag
        assert python.startswith(("py", "cp3")), tag


def test_a_bundle_is_light_and_free_of_torch(target: Path) -> None:
    size_mb = sum(file.stat().st_size for file in target.rglob("*") if file.is_file()) / 1e6
    assert size_mb <= MOST_MB
    found = {re.sub(r"[-_.]+", "-", info.name.partition("-")[0]).lower() for info in target.glob("*.dist-info")}
    assert found == set(pinned("lambdas/requirements.txt"))
    assert not found & {"torch", "numpy", "transformers", "boto3", "moto"}


def test_a_bundle_holds_the_configuration_in_effect(target: Path) -> None:
    assert (target / "promotion.toml").read_bytes() == CONFIG.read_bytes()
    assert not (target / "promotion" / "cli").exists()


def test_both_locks_agree() -> None:
    everything, functions = pinned("requirements.txt"), pinned("lambdas/requirements.txt")
    assert {name: everything.get(name) for name in functions} == functions


def test_locks_name_no_index_and_no_cuda() -> None:
    for lock in ("requirements.txt", "lambdas/requirements.txt"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--(extra-)?index|nvidia|cuda|\+cpu", text), lock
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text(encoding="utf-8")


def test_a_second_build_fetches_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second synth must not reach the package index")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert bundle.build(ROOT, CONFIG) == target
