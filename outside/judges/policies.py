"""Judges policies with parliament, in its own environment: a JSON list of [where, policy] in, findings out."""

from __future__ import annotations

import json
import sys

import parliament  # type: ignore[import-not-found]


def main() -> None:
    """From standard input to standard output."""
    found = []
    for where, policy in json.load(sys.stdin):
        for finding in parliament.analyze_policy_string(json.dumps(policy)).findings:
            said = f"{parliament.enhance_finding(finding).title}: {json.dumps(finding.detail, default=str)}"
            found.append({"where": where, "rule": finding.issue, "said": said})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
