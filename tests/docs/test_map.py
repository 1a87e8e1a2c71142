"""The map is whole: every module of promotion/ has its floor in import-linter's contracts, every folder of tests its row."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
MODULES = {
    f"promotion.{path.stem}"
    for path in (ROOT / "promotion").iterdir()
    if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
}
# Floors 4 and 5, and what infra/ may take.
ABOVE = {"promotion.aws", "promotion.cli"}
WORDS = {f"promotion.{name}" for name in ("config", "config_checks", "config_resources", "errors", "names", "settings")}


def contract(name: str) -> dict[str, Any]:
    (found,) = [each for each in CONTRACTS if each["name"] == name]
    return found


def test_every_module_has_its_floor() -> None:
    layers = " ".join(contract("A floor imports only floors below it")["layers"])
    assert set(re.findall(r"promotion\.\w+", layers)) == MODULES


def test_boto3_is_kept_out_of_every_floor_below_the_fourth() -> None:
    assert set(contract("boto3 only on floor 4 and above")["source_modules"]) == MODULES - ABOVE


def test_infra_is_kept_from_all_but_words() -> None:
    forbidden = set(contract("infra takes only words")["forbidden_modules"])
    assert forbidden == (MODULES - WORDS) | {"lambdas", "inference", "local"}


def test_every_folder_of_tests_is_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {place.parent.name for place in (ROOT / "tests").glob("*/test_*.py")}
    assert set(re.findall(r"^\| `tests/(\w+)` \|", page, re.MULTILINE)) == folders
