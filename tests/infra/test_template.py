"""The template as a whole: linted, checked, held against its snapshot."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.cdk_nag import plain
from promotion import names
from tests.infra.refused import refusal
from tests.infra.synthesized import ROOT, Template, run_app, synthesize

SNAPSHOT = Path(__file__).parent / "template.snapshot.txt"
CONFIG = Path(__file__).parent / "promotion.toml"


def test_cfn_lint_finds_nothing(template: Template) -> None:
    linted = subprocess.run(
        [
            str(Path(sys.executable).with_name("cfn-lint")),
            "--config-file",
            str(ROOT / ".cfnlintrc"),
            "--",
            str(template.path),
        ],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (linted.returncode, linted.stdout) == (0, ""), linted.stdout + linted.stderr


def test_cdk_nag_finds_nothing_unexplained(tmp_path: Path) -> None:
    finished = run_app(CONFIG, tmp_path, bundle="false")
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-4000:]


def test_the_cdks_own_validation_finds_nothing(tmp_path: Path) -> None:
    """Left out of a plain synth, where starting it takes five seconds."""
    assert violations(tmp_path, "assemble().synth()") == []


def test_the_cdks_own_validation_does_look(tmp_path: Path) -> None:
    wrong = (
        "app = assemble(); from aws_cdk import aws_sqs as sqs; "
        "queue = sqs.CfnQueue(app.node.find_child('promotion'), 'Wrong'); "
        "queue.add_property_override('DelaySeconds', 'soon'); app.synth()"
    )
    (found,) = violations(tmp_path, wrong)
    assert "DelaySeconds" in found["description"]


def violations(out: Path, program: str) -> list[dict[str, Any]]:
    """Return the CDK's validation findings in a program's templates."""
    finished = run_app(CONFIG, out, program=program, bundle="false", nag="false", validate="true")
    assert finished.returncode == 0, finished.stderr
    reports = json.loads((out / "validation-report.json").read_text(encoding="utf-8"))["pluginReports"]
    return [violation for report in reports for violation in report["violations"]]


def test_cdk_nag_does_look(tmp_path: Path) -> None:
    """The test above must be able to fail: with nothing explained the pack has findings."""
    program = "import infra.cdk_nag as a; a.WILDCARDS = {}; assemble().synth()"
    finished = run_app(CONFIG, tmp_path, program=program, bundle="false")
    assert finished.returncode != 0
    assert "AwsSolutions-IAM5" in finished.stdout + finished.stderr


def test_the_template_is_the_snapshot(template: Template) -> None:
    """Set UPDATE_SNAPSHOTS=1 to accept the difference, and read it in the commit."""
    now = "\n".join(lines(template)) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(now, encoding="utf-8")
    before = SNAPSHOT.read_text(encoding="utf-8")
    difference = difflib.unified_diff(before.splitlines(), now.splitlines(), "snapshot", "now", lineterm="", n=2)
    assert now == before, "\n".join(difference)


def test_a_second_synthesis_gives_the_same_template(template: Template, tmp_path: Path) -> None:
    assert synthesize(CONFIG, tmp_path).document == template.document


def test_the_shipped_configuration_can_be_deployed(tmp_path: Path) -> None:
    assert synthesize(ROOT / "promotion.toml", tmp_path).of_type("AWS::DynamoDB::Table")


def test_another_prefix_is_another_installation(template: Template, tmp_path: Path) -> None:
    other = synthesize(CONFIG, tmp_path, prefix="/team-a/promotion")
    assert other.path.name == "team-a-promotion.template.json"
    names = [bus["Name"] for one in (template, other) for bus in one.of_type("AWS::Events::EventBus").values()]
    assert names == ["promotion", "team-a-promotion"]
    _, parameter = other.the("AWS::SSM::Parameter", "Service")
    assert parameter["Name"] == "/team-a/promotion/_service"


@pytest.mark.parametrize(
    ("line", "replacement", "complaint"),
    [
        ('sender = "models@example.com"', 'sender = "models"', "mail.sender"),
        ('sender = "models@example.com"', "", "sender"),
        ('client_id = "promotion"', "", "client_id"),
        ("quorum = 2", "quorom = 2", "quorom"),
        ("quorum = 2", 'account = "210987654321"', "registry.account"),
        (
            "[artifacts]",
            '[advanced.environments.prod]\nregion = "eu-west-1"\n[artifacts]',
            "advanced.environments.prod.region",
        ),
        ('name = "test"', 'name = "dev"', "environments[1].name"),
        ('[inference]\nbucket = "promotion-models"', '[inference]\nschedule = "daily"', "inference.schedule"),
        ("[advanced.inference]", '[advanced.inference]\nsubnets = ["subnet-1"]', "advanced.inference.security_groups"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(tmp_path: Path, line: str, replacement: str, complaint: str) -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert line in text
    wrong = tmp_path / "promotion.toml"
    wrong.write_text(text.replace(line, replacement, 1), encoding="utf-8")
    assert complaint in refusal(wrong)


@pytest.mark.parametrize("prefix", ["team a", "promotion", "/promotion/", "/team/*"])
def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    assert refusal(CONFIG, prefix=prefix).startswith(f"{names.PREFIX}: {prefix!r} is no prefix")


@pytest.mark.parametrize("prefix", ["/aws/promotion", "/ssm-promotion", "/AWS"])
def test_a_prefix_that_parameter_store_keeps_for_itself_is_refused(prefix: str) -> None:
    assert "keeps names that begin with aws or ssm for itself" in refusal(CONFIG, prefix=prefix)


def test_a_refusal_is_printed_without_a_traceback_and_writes_no_template(tmp_path: Path) -> None:
    finished = run_app(CONFIG, tmp_path / "out", bundle="false", nag="false", prefix="/team/*")
    assert finished.returncode == 1
    assert finished.stderr == refusal(CONFIG, prefix="/team/*") + "\n"
    assert not list(tmp_path.glob("out/*.template.json"))


def test_a_reference_that_has_no_text_matches_no_explained_wildcard() -> None:
    with pytest.raises(ValueError, match="Fn::ImportValue"):
        plain({"Fn::ImportValue": "arn:aws:s3:::*"})


def lines(template: Template) -> list[str]:
    """The template as short lines, sorted, so that a difference reads as what changed.

    What most resources of a type have alike is written once, as usual; a resource has what differs from that.
    """
    kinds = sorted({resource["Type"] for resource in template.resources.values()})
    usual = {kind: _usual([one for one in template.resources.values() if one["Type"] == kind]) for kind in kinds}
    written = [
        line
        for kind, attributes in usual.items()
        if attributes
        for line in (f"usual {kind.removeprefix('AWS::')}", *_attributes(attributes))
    ]
    for name, resource in sorted(template.resources.items()):
        own, alike = _flat(resource), usual[resource["Type"]]
        different = {key: own.get(key, "absent") for key in own | alike if own.get(key) != alike.get(key)}
        written += [f"{name}: {resource['Type']}", *_attributes(different)]
    for name, output in sorted(template.document.get("Outputs", {}).items()):
        written.append(f"output {name}: {output.get('Description')}")
    return written


def _flat(resource: dict[str, Any]) -> dict[str, Any]:
    """Attributes and properties of a resource."""
    attributes = {key: value for key, value in resource.items() if key not in ("Type", "Metadata", "Properties")}
    return {**attributes, **resource.get("Properties", {})}


def _usual(resources: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What more than half of at least three resources have alike."""
    counted = Counter((key, json.dumps(value)) for resource in resources for key, value in _flat(resource).items())
    most = max(len(resources) // 2, 2)
    return {key: json.loads(text) for (key, text), count in counted.items() if count > most}


def _attributes(attributes: dict[str, Any]) -> list[str]:
    return [line for key, value in sorted(attributes.items()) for line in _property(key, value, "  ")]


def _property(key: str, value: object, indent: str) -> list[str]:
    if key == "DefinitionString":
        return [f"{indent}{key}: see infra/machine.py and its tests"]
    if key == "Code":
        return [f"{indent}{key}: an asset"]
    short = f"{indent}{key}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
    if len(short) <= 140 or not isinstance(value, dict | list) or not value:
        return [short]
    pairs = sorted(value.items()) if isinstance(value, dict) else [("-", part) for part in value]
    return [f"{indent}{key}:", *(line for part, inner in pairs for line in _property(part, inner, indent + "  "))]
