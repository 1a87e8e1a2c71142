"""The functions' bundle: small, for the right processor, and importable without anything else."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from packaging.markers import Marker

from infra import bundle
from infra.functions import SIZES
from tests.infra.synthesized import ROOT
from tools import lock

MOST_MB = 60
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


def pinned(name: str) -> dict[str, str]:
    """Normalised name → version of a lock, on Linux."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [re.match(r"([\w.-]+)==([^\s;\\]+)(?: ; (.+?))?\s*\\?$", line) for line in lines]
    here = [line for line in found if line and (not line[3] or Marker(line[3]).evaluate())]
    return {re.sub(r"[-_.]+", "-", line[1]).lower(): line[2] for line in here}


def imported(twin: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Runs a statement in an interpreter that sees the bundle and the standard library alone."""
    script = f"import sys; sys.path.insert(0, {str(twin)!r}); {statement}"
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
def test_a_function_imports_from_its_bundle_alone(twin: Path, module: str) -> None:
    finished = imported(twin, f"from lambdas.handlers.{module} import handler; assert callable(handler)")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("module", SIZES)
def test_a_cold_start_imports_nothing_that_only_a_sign_in_or_a_chat_needs(twin: Path, module: str) -> None:
    heavy = "{'requests', 'joserfc'} & set(sys.modules)"
    finished = imported(twin, f"import lambdas.handlers.{module}; assert not {heavy}, {heavy}")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("module", ["sign_in", "decide", "operate"])
def test_a_function_that_answers_with_redirects_imports_no_templates(twin: Path, module: str) -> None:
    finished = imported(twin, f"import lambdas.handlers.{module}; assert 'jinja2' not in sys.modules")
    assert finished.returncode == 0, finished.stderr


def test_the_clean_interpreter_sees_nothing_of_this_environment(twin: Path) -> None:
    finished = imported(twin, "import moto")
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
    assert not found & {"torch", "numpy", "transformers", "moto"}
    # Lambda's own changes by itself, without anybody having tested it.
    assert found >= {"boto3", "botocore"}


def test_a_bundle_holds_the_configuration_in_effect(target: Path) -> None:
    assert (target / "promotion.toml").read_bytes() == CONFIG.read_bytes()
    assert not (target / "promotion" / "cli").exists()


def test_both_locks_agree() -> None:
    everything, functions = pinned("requirements.txt"), pinned("lambdas/requirements.txt")
    assert {name: everything.get(name) for name in functions} == functions


def test_locks_name_no_index_and_no_cuda() -> None:
    for wanted in lock.asked():
        text = (ROOT / lock.lock_of(wanted)).read_text(encoding="utf-8")
        assert not re.search(r"https?://|--(extra-)?index|nvidia|cuda|\+cpu|^torch", text, re.MULTILINE), wanted
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text(encoding="utf-8")


def test_every_line_of_every_lock_has_its_hash() -> None:
    for wanted in lock.asked():
        text = (ROOT / lock.lock_of(wanted)).read_text(encoding="utf-8").replace("\\\n", " ")
        pins = [line for line in text.splitlines() if "==" in line]
        assert pins, wanted
        assert [line for line in pins if "--hash=sha256:" not in line] == [], wanted


def test_a_second_build_fetches_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second synth must not reach the package index")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert bundle.build(ROOT, CONFIG) == target


def make_root(folder: Path) -> Path:
    """Make a repository of one function, whose lock asks for nothing."""
    (folder / "lambdas").mkdir(parents=True)
    (folder / "promotion").mkdir()
    (folder / "promotion" / "names.py").write_text("A = 0")
    (folder / bundle.LOCK).write_text("")
    (folder / "promotion.toml").write_text("")
    return folder


def test_a_failed_download_leaves_nothing_that_a_second_build_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root(tmp_path / "root")

    def pip(command: list[str], *, fails: bool, **_: object) -> None:
        site = Path(command[command.index("--target") + 1])
        site.mkdir()
        (site / "boto3.py").touch()
        if fails:
            raise subprocess.CalledProcessError(1, command)
        (site / "botocore.py").touch()

    monkeypatch.setattr(subprocess, "run", partial(pip, fails=True))
    with pytest.raises(subprocess.CalledProcessError):
        bundle.build(root, root / "promotion.toml")
    monkeypatch.setattr(subprocess, "run", partial(pip, fails=False))
    built = bundle.build(root, root / "promotion.toml")
    assert sorted(path.name for path in built.iterdir()) == [
        "boto3.py", "botocore.py", "lambdas", "promotion", "promotion.toml",
    ]  # fmt: skip


def test_the_three_bundles_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "root")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: Path(command[command.index("--target") + 1]).mkdir())

    def build(version: int) -> Path:
        (root / "promotion" / "names.py").write_text(f"A = {version}")
        return bundle.build(root, root / "promotion.toml")

    made = []
    for version in (1, 2, 3):
        made.append(build(version))
        os.utime(made[-1], (version, version))
    first, second, third = made
    assert build(1) == first
    fourth = build(4)
    assert [path.exists() for path in (first, second, third, fourth)] == [True, False, True, True]
    assert (first / "promotion" / "names.py").read_text() == "A = 1"


def test_a_second_synth_waits_until_the_first_one_has_its_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, waits = make_root(tmp_path / "root"), []

    def pip(command: list[str], **_: object) -> None:
        Path(command[command.index("--target") + 1]).mkdir()
        with (root / "build" / "bundle" / "lock").open("w") as second:
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits.append(command)

    monkeypatch.setattr(subprocess, "run", pip)
    bundle.build(root, root / "promotion.toml")
    assert len(waits) == 1
    with (root / "build" / "bundle" / "lock").open("w") as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_code_that_is_moved_is_another_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "root")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: Path(command[command.index("--target") + 1]).mkdir())
    code = root / "promotion" / "policy" / "rules.py"
    code.parent.mkdir()
    code.write_text("A = 0")
    bundle.build(root, root / "promotion.toml")
    code.parent.rename(root / "promotion" / "polity")
    built = bundle.build(root, root / "promotion.toml")
    assert [str(path.relative_to(built)) for path in built.rglob("rules.py")] == ["promotion/polity/rules.py"]
