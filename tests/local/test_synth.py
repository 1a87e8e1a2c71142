"""A template that was kept is made anew when anything that it is made from changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grimp
import pytest

from local import synth


def test_every_module_that_the_stack_is_made_by_is_an_input() -> None:
    graph = grimp.build_graph("infra", "promotion", exclude_type_checking_imports=True)
    infra = {"infra", *graph.find_descendants("infra")}
    modules = infra.union(*(graph.find_upstream_modules(module) for module in infra))
    files = {path.relative_to(synth.ROOT).with_suffix("").as_posix() for path in synth.inputs()}
    told = {path.removesuffix("/__init__").replace("/", ".") for path in files}
    assert "promotion.config.settings" in modules
    assert modules <= told, f"change one of these, and the local service shows the old template: {modules - told}"


def test_a_stack_that_can_not_be_made_says_why_and_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, "first", "environments: two are named dev")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(synth, "CACHE", tmp_path / "synth")
    config = tmp_path / "promotion.toml"
    config.write_text("")
    with pytest.raises(synth.SynthFailed, match=r"first.*two are named dev"):
        synth.template(config)
    assert [path.name for path in (tmp_path / "synth").iterdir()] == ["lock"]
