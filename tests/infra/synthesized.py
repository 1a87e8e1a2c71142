"""A synthesized template, and questions to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.cdk_nag import plain

ROOT = Path(__file__).resolve().parents[2]


class Template:
    """Resources by what they are, with references written as `<LogicalId.Arn>`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.resources: dict[str, dict[str, Any]] = {
            name: readable(resource) for name, resource in self.document["Resources"].items()
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of all resources of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def the(self, kind: str, beginning: str) -> tuple[str, dict[str, Any]]:
        """The one resource of a type whose logical id begins so, without the hash."""
        found = {
            name: properties
            for name, properties in self.of_type(kind).items()
            if name[:-8] == beginning or name == beginning
        }
        assert len(found) == 1, f"{kind} {beginning}: {sorted(found)} of {sorted(self.of_type(kind))}"
        return next(iter(found.items()))

    def function(self, module: str) -> tuple[str, dict[str, Any]]:
        return self.the("AWS::Lambda::Function", "Functions" + "".join(word.title() for word in module.split("_")))

    def role_of(self, module: str) -> str:
        """Logical id of a function's role."""
        return str(self.function(module)[1]["Role"]).removeprefix("<").removesuffix(".Arn>")

    def statements(self, role: str) -> list[dict[str, Any]]:
        """Return the statements of a role, from all of its policies."""
        return [
            statement
            for policy in self.of_type("AWS::IAM::Policy").values()
            if f"<{role}>" in policy["Roles"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]


def readable(value: Any) -> Any:
    """`value` with intrinsic functions as text."""
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in ("Ref", "Fn::GetAtt", "Fn::Join"):
            return plain(value)
        return {key: readable(part) for key, part in value.items()}
    return [readable(part) for part in value] if isinstance(value, list) else value


def actions(statement: Mapping[str, Any]) -> list[str]:
    given = statement["Action"]
    return given if isinstance(given, list) else [given]


def resources(statement: Mapping[str, Any]) -> list[str]:
    given = statement["Resource"]
    return given if isinstance(given, list) else [given]


def every_statement(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """All statements of all identity policies, with the policy they stand in."""
    for name, policy in template.of_type("AWS::IAM::Policy").items():
        for statement in policy["PolicyDocument"]["Statement"]:
            yield name, statement


def synthesize(config: Path, outdir: Path, **context: object) -> Template:
    """Runs app.py as the CDK command would, without code bundles."""
    finished = run_app(config, outdir, aws=None, program=None, **{"bundle": "false", "nag": "false", **context})
    assert finished.returncode == 0, finished.stderr
    return Template(next(outdir.glob("*.template.json")))


def run_app(
    config: Path, outdir: Path, *, aws: Mapping[str, str] | None = None, program: str | None = None, **context: object
) -> subprocess.CompletedProcess[str]:
    """app.py with a configuration and context, or a `program` that uses `assemble`; refusals are for the caller to read.

    `aws` has variables that lead to AWS.
    """
    environment = {
        **os.environ,
        **(aws or {}),
        "PROMOTION_CONFIG": str(config),
        "CDK_OUTDIR": str(outdir),
        "CDK_CONTEXT_JSON": json.dumps(context),
    }
    environment.pop("PROMOTION_PREFIX", None)
    started = ["-c", f"from infra.assembly import assemble; {program}"] if program else ["app.py"]
    return subprocess.run(
        [sys.executable, *started], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
