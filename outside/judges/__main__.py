"""Have the templates and requests of several configurations judged: `python outside/run.py judges`.

cfn-lint, checkov and parliament have an environment each, of the lock outside/locks/NAME.txt.

Every finding is mended, or explained in explanations.toml; an explanation without a finding fails as well. The findings are
written to build/outside/judges.json.
"""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from outside.environments import LOCKS, environment
from outside.judges import requests, verdicts
from outside.judges.templates import Judged, read
from outside.judges.variants import SAMPLE, VARIANTS
from outside.judges.verdicts import Finding
from tests.infra.synthesized import ROOT, run_app

HERE = Path(__file__).parent
OUT = ROOT / "build" / "outside" / "judges.json"
# The journeys' clients sign for nobody: no AWS is in reach.
NOBODY = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
JUDGES = (verdicts.cfn_lint, verdicts.checkov, verdicts.parliament, verdicts.asl)
# The journeys of the sample: between them they make a request of each kind.
JOURNEYS = ("register", "roll back", "hash", "drift", "anchor")


@dataclass(frozen=True)
class Explanation:
    """Why findings stay.

    Attributes:
        judge, rule: whose, and which.
        where: the resource, as type/logical id; `*` is a wildcard.
        reason: a sentence.
        variant: of this variant only; empty for all.
    """

    judge: str
    rule: str
    where: str
    reason: str
    variant: str = ""

    def explains(self, finding: Finding) -> bool:
        """Return True if the finding is one of these."""
        return (
            (self.judge, self.rule) == (finding.judge, finding.rule)
            and fnmatch.fnmatchcase(finding.where, self.where)
            and self.variant in ("", finding.variant)
        )


def explanations() -> list[Explanation]:
    """explanations.toml."""
    said = tomllib.loads((HERE / "explanations.toml").read_text(encoding="utf-8"))
    return [Explanation(**each) for each in said["explanation"]]


def sort(
    found: Iterable[Finding], known: Sequence[Explanation], variants: Sequence[str]
) -> tuple[list[Finding], list[Explanation]]:
    """Findings that nothing explains, and explanations of nothing that these variants could have."""
    used: set[Explanation] = set()
    unexplained = []
    for finding in found:
        fitting = [each for each in known if each.explains(finding)]
        used.update(fitting)
        if not fitting:
            unexplained.append(finding)
    stale = [each for each in known if each not in used and (not each.variant or each.variant in variants)]
    return unexplained, stale


def synthesize(variant: str, folder: Path) -> tuple[list[Judged], list[Finding]]:
    """A variant's templates, and what cdk-nag finds unexplained in them: its explanations are in infra/cdk_nag.py."""
    folder.mkdir(parents=True)
    config, out = folder / "promotion.toml", folder / "out"
    config.write_text(VARIANTS[variant](), encoding="utf-8")
    finished = run_app(config, out, bundle="false", nag="true")
    if finished.returncode:
        return [], [Finding("cdk-nag", "synth", variant, "app.py", finished.stderr[-3000:], error=True)]
    return read(variant, out), []


def interpreter(judge: str) -> Path:
    """Return the Python of a judge's own environment, or of the suite's if npm has the judge."""
    lock = LOCKS / f"{judge}.txt"
    return Path(environment(lock) if lock.exists() else os.environ["OUTSIDE_PYTHON"])


def main() -> int:
    """Judge, print the findings, and return 1 if one is unexplained or an explanation is stale."""
    everything = bool(os.environ.get("OUTSIDE_ALL"))
    variants = tuple(VARIANTS) if everything else SAMPLE
    found: list[Finding] = []
    templates: list[Judged] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, variant in enumerate(variants):
            judged, refused = synthesize(variant, Path(folder) / str(number))
            templates += judged
            found += refused
        for judge in JUDGES:
            begun = time.monotonic()
            said = list(judge(templates, interpreter(judge.__name__)))
            found += said
            print(f"{judge.__name__}: {len(said)} findings, {time.monotonic() - begun:.0f} s", flush=True)
    os.environ.update(NOBODY)
    calls = [(variant, each) for variant in variants for each in requests.of_variant(VARIANTS[variant]())]
    calls += [("journeys", each) for each in requests.of_journeys(() if everything else JOURNEYS)]
    for variant, (where, call) in calls:
        found += [
            Finding("botocore", f"{call[0]}:{call[1]}", variant, where, each, error=True)
            for each in requests.findings(call)
        ]
    print(f"botocore: {len(calls)} requests", flush=True)
    unexplained, stale = sort(found, explanations(), variants)
    lint_errors = sum(each.error for each in found if each.judge == "cfn-lint")
    figures = {
        "variants": list(variants),
        "templates": len(templates),
        "machines": sum(1 for each in templates for _ in each.machines()),
        "requests": len(calls),
        "findings": dict(sorted(Counter(each.judge for each in found).items())),
        "lint_errors": lint_errors,
        "unexplained": [asdict(each) for each in unexplained],
        "stale_explanations": [asdict(each) for each in stale],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for each in unexplained:
        print(f"unexplained: {each.judge} {each.rule} in {each.variant}, {each.where}: {each.said}")
    for old in stale:
        print(f"explains nothing: {old.judge} {old.rule} {old.where}")
    print(
        f"{len(variants)} variants, {len(templates)} templates, {len(found)} findings, {lint_errors} errors of cfn-lint, "
        f"{len(unexplained)} unexplained, {len(stale)} explanations of nothing"
    )
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
