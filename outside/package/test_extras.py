"""The wheel, installed with one extra at a time into an empty environment, does what the extra is for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.txt"
INFERENCE = "inference"
# torch is 200 MB to fetch for every run: `make test-outside-all` does.
EXTRAS = ("", "cli", "lambda", *([INFERENCE] if os.environ.get("OUTSIDE_ALL") else []))
SIZE_MB = {"": 80, "cli": 95, "lambda": 110}


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and one extra."""

    extra: str
    place: Path
    cwd: Path

    def run(self, *command: str, also: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, in an empty folder, without credentials or this checkout."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.cwd), "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run(
            [str(self.place / "bin" / command[0]), *command[1:]],
            cwd=self.cwd,
            env={**environment, "PYTHONPATH": also, "AWS_DEFAULT_REGION": "us-east-1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @property
    def size_mb(self) -> float:
        return sum(file.lstat().st_size for file in (self.place / "lib").rglob("*") if file.is_file()) / 1e6


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    into = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(into), str(ROOT)], check=True)
    (made,) = into.glob("*.whl")
    return made


@pytest.fixture(scope="session", params=EXTRAS)
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    extra: str = request.param
    folder = tmp_path_factory.mktemp(extra or "nothing")
    place = folder / "venv"
    venv.create(place, with_pip=True)
    # Isolated: a checkout on PYTHONPATH would pass for an installed wheel.
    python = [str(place / "bin" / "python"), "-I", "-m", "pip", "--disable-pip-version-check"]
    pip = [*python, "install", "--quiet"]
    if extra == INFERENCE:
        subprocess.run([*pip, "-r", str(ROOT / "inference" / "torch.txt")], check=True)
    needed = folder / "requirements.txt"
    needed.write_text("".join(_entries(_names(pip, f"{wheel}[{extra}]" if extra else str(wheel), folder))))
    subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", str(needed)], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    subprocess.run([*python, "check"], check=True)
    (folder / "empty").mkdir()
    return Installed(extra, place, folder / "empty")


def _names(pip: list[str], asked: str, folder: Path) -> set[str]:
    """Return the packages that pip would install besides the wheel, at the lock's versions; nothing is installed."""
    versions, report = folder / "versions.txt", folder / "report.json"
    versions.write_text("\n".join(re.findall(r"^[\w.-]+==[^\s\\]+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)))
    subprocess.run([*pip, "--dry-run", "--report", str(report), "-c", str(versions), asked], check=True)
    named = {str(each["metadata"]["name"]) for each in json.loads(report.read_text(encoding="utf-8"))["install"]}
    return {_plain(name) for name in named} - {"model-promotion"}


def _entries(names: set[str]) -> list[str]:
    """Their entries of the lock, with the hashes."""
    entries = re.findall(r"^[\w.-]+==[^\n]*\\\n(?:    --hash[^\n]*\n)+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return [entry for entry in entries if _plain(entry.partition("==")[0]) in names]


def _plain(name: str) -> str:
    """A distribution's name as the index has it: https://packaging.python.org/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def subcommands(text: str) -> list[str]:
    """The names that `promotion --help` lists."""
    return re.findall(r"^    ([a-z][a-z-]+)(?:  |$)", text, re.MULTILINE)


def test_the_wheel_is_called_as_nobody_elses(wheel: Path) -> None:
    assert wheel.name.startswith("model_promotion-")


def test_resolve_is_imported(installed: Installed) -> None:
    said = installed.run("python", "-c", "from promotion import resolve, LiveModel; print(resolve.__module__)")
    assert said.stdout.strip() == "promotion.client.resolve", said.stderr


def test_the_version_is_the_distributions(installed: Installed) -> None:
    assert re.fullmatch(r"model-promotion \d+\.\d+\.\d+\n", installed.run("promotion", "--version").stdout)


def test_every_subcommand_has_help(installed: Installed) -> None:
    found = subcommands(installed.run("promotion", "--help").stdout)
    assert set(found) == {"resolve", "completion", *(command[0] for command in OTHERS)}
    for name in found:
        said = installed.run("promotion", name, "--help")
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith(f"usage: promotion {name}")


def test_resolve_without_credentials_is_one_sentence(installed: Installed) -> None:
    said = installed.run("promotion", "resolve", "summaries", "dev")
    assert (said.returncode, said.stderr.count("\n")) == (1, 1), said.stderr
    assert "redentials" in said.stderr


OTHERS = (
    ("status",),
    ("history", "g"),
    ("gates", "explain", "g", "dev", "--metrics", "metrics.json"),
    ("rollback", "g", "dev", "--reason", "r"),
    ("revoke", "g", "1", "--reason", "r"),
    ("verify",),
    ("rebuild",),
    ("redrive",),
    ("export", "g", "r"),
    ("check-bundle", "f.json"),
    ("doctor",),
    ("endpoint", "status", "g", "dev"),
    ("adopt", "g", "dev", "1", "--reason", "r"),
    ("ask", "g", "1"),
    ("attest", "g", "1", "dev"),
    ("diff", "g", "1", "2"),
    ("open", "g"),
    ("notify", "--test"),
    ("report", "g", "dev", "1", "--metrics", "metrics.json"),
)


def test_tab_completion_is_printed_with_any_extra(installed: Installed) -> None:
    said = installed.run("promotion", "completion", "bash")
    assert (said.returncode, said.stderr) == (0, "")
    assert "complete" in said.stdout


@pytest.mark.parametrize("command", OTHERS, ids=lambda command: command[0])
def test_a_subcommand_starts_or_says_what_to_install(installed: Installed, command: tuple[str, ...]) -> None:
    said = installed.run("promotion", *command)
    assert "Traceback" not in said.stderr, said.stderr
    assert said.returncode == 1, said.stdout + said.stderr
    needs = "pip install 'model-promotion[cli]'" in said.stderr
    assert needs == (installed.extra in ("", INFERENCE) and "msgspec" in said.stderr), said.stderr


def test_gates_are_explained_offline(installed: Installed) -> None:
    if installed.extra not in ("cli", "lambda"):
        return
    (installed.cwd / "promotion.toml").write_text((ROOT / "promotion.toml").read_text(encoding="utf-8"))
    (installed.cwd / "metrics.json").write_text('{"rougeL": 0.9, "exact_match": 0.9}')
    said = installed.run("promotion", "gates", "explain", "summaries", "dev", "--metrics", "metrics.json")
    (installed.cwd / "promotion.toml").unlink()
    assert said.returncode in (0, 5), said.stderr
    assert said.stdout


def test_nothing_heavy_comes_along(installed: Installed) -> None:
    if installed.extra == INFERENCE:
        return
    listed = installed.run("python", "-m", "pip", "--disable-pip-version-check", "list").stdout.lower()
    assert not {"torch", "aws-cdk-lib", "transformers", "moto"} & set(listed.split())
    print(f"[{installed.extra}]: {installed.size_mb:.0f} MB")
    assert installed.size_mb <= SIZE_MB[installed.extra]


def test_a_function_or_the_inference_command_imports(installed: Installed) -> None:
    if installed.extra == "lambda":
        said = installed.run("python", "-c", "import lambdas.handlers.web, lambdas.handlers.decide", also=str(ROOT))
    elif installed.extra == INFERENCE:
        said = installed.run("python", "-m", "inference", "--help", also=str(ROOT))
    else:
        return
    assert said.returncode == 0, said.stderr
