"""The figures of the code base stay within what a maintainer takes over: folders, imports between them, `Any`, docstrings."""

from __future__ import annotations

import re

import pytest

from tools import house


@pytest.mark.parametrize(("package", "most_rooms", "most_arrows"), [("promotion", 14, 50), ("inference", 10, 30)])
def test_folders_and_the_imports_between_them_stay_few(package: str, most_rooms: int, most_arrows: int) -> None:
    rooms, arrows = house.arrows(package)
    floors, upward = house.layers(rooms, arrows)
    assert len(rooms) <= most_rooms
    assert len(arrows) <= most_arrows, sorted(arrows)
    assert floors <= 7
    assert upward == 0


def test_any_stays_rare_in_what_is_deployed() -> None:
    assert house.count_any(("promotion", "lambdas")) < 150


def test_an_arrow_on_a_circle_is_counted() -> None:
    assert house.layers(["a", "b"], {("a", "b"), ("b", "a")})[1] == 1


def test_pre_commit_runs_what_make_check_runs() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (house.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    commands = re.split(r"\n|&&", recipe[1].strip())
    checks = {command.replace("$(DOCUMENTED)", "").strip().removesuffix(" .") for command in commands}
    hooks = (house.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"entry: \.venv/bin/(.+)", hooks)) == checks
    [files] = re.findall(r"files: (.+)", hooks)
    assert all(re.match(files, f"{folder}/module.py") for folder in house.DOCUMENTED)
    assert not re.match(files, "promotion/aws/module.py")
