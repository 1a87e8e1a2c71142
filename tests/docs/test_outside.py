"""Every suite of outside/ can be run, is locked with hashes, and is described."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from outside.environments import LOCKS
from outside.judges import __main__ as judges
from outside.judges.requests import findings, of_variant
from outside.judges.variants import SAMPLE, VARIANTS
from outside.judges.verdicts import Finding
from outside.run import ROOT, Suite, is_there, suites
from tools.lock import asked, lock_of

SUITES = {suite.name: suite for suite in suites()}
ASKED = list(asked())


def test_every_suite_is_in_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in SUITES)


@pytest.mark.parametrize("wanted", ASKED, ids=str)
def test_each_environments_packages_are_locked_with_hashes(wanted: Path) -> None:
    text = (ROOT / lock_of(wanted)).read_text(encoding="utf-8").replace("\\\n", " ")
    assert text.startswith(f"# Written by `make lock` from {wanted.as_posix()}.\n")
    pinned = [line for line in text.splitlines() if "==" in line]
    assert pinned
    assert [line for line in pinned if "--hash=sha256:" not in line] == []
    assert not re.search(r"https?://|index", text), "a lock names no registry"


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_npms_lock_names_no_registry(suite: Suite) -> None:
    assert not suite.node_lock.exists() or '"resolved"' not in suite.node_lock.read_text(encoding="utf-8")


def test_each_judge_has_an_environment_of_its_own() -> None:
    folder = ROOT / "outside" / "judges"
    for name in ("cfn-lint", "checkov", "parliament"):
        assert (LOCKS / f"{name.replace('-', '_')}.in").read_text(encoding="utf-8").split() == [name]
    assert list(json.loads((folder / "package.json").read_text())["devDependencies"]) == ["asl-validator"]


def test_no_suite_may_take_longer_than_all_of_them() -> None:
    limit = re.search(r'"make test-outside" --limit (\d+)', (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert limit
    assert max(suite.minutes for suite in SUITES.values()) < int(limit[1])


def test_a_library_of_debian_is_known_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "Timeout.pm").touch()
    assert is_there(f"{tmp_path}/*.pm")
    assert not is_there(f"{tmp_path}/*.so")
    assert is_there("sh")
    assert not is_there("no-such-command")


def test_decisions_are_numbered_without_holes_in_one_form() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:3]) for page in found] == list(range(1, len(found) + 1))
    for number, page in enumerate(found, 1):
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {number}\. \S.*\n\n\*\*Decided\.\*\* ", text), page.name
        assert "**Given up.**" in text, page.name


def test_a_finding_of_a_judge_needs_its_explanation_and_an_explanation_its_finding() -> None:
    found = Finding("checkov", "CKV_1", "default", "AWS::SQS::Queue/Wake", "said")
    fitting = judges.Explanation("checkov", "CKV_1", "AWS::SQS::Queue/*", "It is so.")
    other = judges.Explanation("checkov", "CKV_1", "AWS::S3::Bucket/*", "It is so.")
    china = judges.Explanation("cfn-lint", "W1", "*", "It is so there.", variant="china")
    assert judges.sort([found], [fitting], ["default"]) == ([], [])
    assert judges.sort([found], [other], ["default"]) == ([found], [other])
    assert judges.sort([], [china], ["default"]) == ([], [])
    assert judges.sort([], [china], ["default", "china"]) == ([], [china])


def test_eight_variants_are_judged_and_each_explanation_has_a_reason() -> None:
    assert len(VARIANTS) >= 8
    assert set(SAMPLE) <= set(VARIANTS)
    assert all(len(each.reason) > 20 for each in judges.explanations())


def test_requests_are_held_against_awss_models() -> None:
    right = [call for _, call in of_variant(VARIANTS["endpoints elsewhere"]())]
    assert {call[1] for call in right} >= {"CreateModel", "CreateTransformJob", "UpdateEndpoint", "PutMetricAlarm"}
    assert [finding for call in right for finding in findings(call)] == []
    job = next(call[2] for call in right if call[1] == "CreateTransformJob")
    wrong = {**job, "BatchStrategy": "Many", "TransformJobName": "a b", "MaxPayloadInMB": -1}
    said = findings(("sagemaker", "CreateTransformJob", wrong))
    assert [part for part in ("BatchStrategy", "TransformJobName", "MaxPayloadInMB") if part in str(said)] == [
        "BatchStrategy",
        "TransformJobName",
        "MaxPayloadInMB",
    ]
