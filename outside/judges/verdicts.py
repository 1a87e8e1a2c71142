"""The judges: each reads templates, and returns findings."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outside.judges.templates import Judged

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Finding:
    """One finding of a judge: the rule, and the variant's resource that it is about."""

    judge: str
    rule: str
    variant: str
    where: str
    said: str
    error: bool = False


class Failed(Exception):
    """A judge that could not judge."""


def cfn_lint(judged: Sequence[Judged], python: Path) -> Iterator[Finding]:
    """cfn-lint, every level: the product's .cfnlintrc is not asked."""
    by_path = {str(each.path): each for each in judged}
    command = [str(python.with_name("cfn-lint")), "--format", "json", "--", *by_path]
    # It ends with a sum of what it found: 2 errors, 4 warnings, 8 hints.
    for found in _answer(command, accepted=range(16), cwd=judged[0].path.parent):
        template = by_path[found["Filename"]]
        path = [str(part) for part in found["Location"]["Path"]]
        name = path[1] if path[:1] == ["Resources"] and len(path) > 1 else "/".join(path)
        yield Finding(
            "cfn-lint",
            found["Rule"]["Id"],
            template.variant,
            _where(template, name),
            found["Message"],
            found["Level"] == "Error",
        )


def checkov(judged: Sequence[Judged], python: Path) -> Iterator[Finding]:
    """Run checkov's CloudFormation rules that are in its package, without a connection to its makers."""
    by_path = {str(each.path): each for each in judged}
    command = [str(python), str(python.with_name("checkov")), "--framework", "cloudformation", "--skip-download"]
    command += ["--output", "json", "--quiet", "--compact"]
    for path in by_path:
        command += ["--file", path]
    answer = _answer(command, accepted=(0, 1), cwd=judged[0].path.parent)
    for report in answer if isinstance(answer, list) else [answer]:
        if report["summary"]["parsing_errors"]:
            raise Failed(f"checkov could not read {report['results']['parsing_errors']}")
        for check in report["results"]["failed_checks"]:
            template = by_path[str(Path(check["file_abs_path"]))]
            name = check["resource"].rpartition(".")[2]
            yield Finding("checkov", check["check_id"], template.variant, _where(template, name), check["check_name"])


def parliament(judged: Sequence[Judged], python: Path) -> Iterator[Finding]:
    """parliament, on the policies of all roles."""
    policies = [(each, name, policy) for each in judged for name, policy in each.policies()]
    given = [[number, policy] for number, (_, _, policy) in enumerate(policies)]
    for found in _answer([str(python), str(HERE / "policies.py")], accepted=(0,), said=json.dumps(given)):
        template, name, _ = policies[found["where"]]
        yield Finding("parliament", found["rule"], template.variant, _where(template, name), found["said"])


def asl(judged: Sequence[Judged], python: Path) -> Iterator[Finding]:
    """asl-validator, on every state machine, paths and ARNs included."""
    command = [str(python.parent.parent / "node_modules" / ".bin" / "asl-validator")]
    places: dict[str, tuple[Judged, str]] = {}
    for each in judged:
        for name, machine in each.machines():
            path = each.path.parent / f"{each.path.name.partition('.')[0]}-{name}.asl.json"
            path.write_text(json.dumps(machine), encoding="utf-8")
            places[str(path)] = (each, name)
            command += ["--json-path", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    said = f"{finished.stdout}\n{finished.stderr}"
    if finished.returncode not in (0, 1) or said.count("State machine definition") != len(places):
        raise Failed(f"asl-validator: {said[-2000:]}")
    at: tuple[Judged, str] | None = None
    for line in said.splitlines():
        if named := re.search(r'State machine definition "(.+)" is (valid|invalid)', line):
            at = places[named[1]] if named[2] == "invalid" else None
        elif at is not None and line.strip():
            rule, _, message = line.strip().partition(": ")
            yield Finding("asl-validator", rule, at[0].variant, _where(*at), message, error=True)


def _answer(
    command: Sequence[str], *, accepted: Sequence[int], said: str | None = None, cwd: Path | None = None
) -> Any:
    """Return the JSON that a judge writes.

    Raises:
        Failed: it ended otherwise than judges end.
    """
    # A proxy or credentials of the environment must not be used here.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON"))}
    finished = subprocess.run(
        list(command), input=said, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    if finished.returncode not in accepted:
        raise Failed(f"{Path(command[0]).name} ended with {finished.returncode}: {finished.stderr[-2000:]}")
    try:
        return json.loads(finished.stdout)
    except json.JSONDecodeError as error:
        raise Failed(
            f"{Path(command[0]).name} said no JSON: {finished.stdout[:500]}{finished.stderr[-500:]}"
        ) from error


def _where(template: Judged, name: str) -> str:
    kind = template.resources.get(name, {}).get("Type", "")
    return f"{kind}/{name}" if kind else name
