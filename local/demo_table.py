"""The demo's second part: a tabular model in the form of XGBoost's container, from its registration to prod.

The first version lacks the most informative columns: a gate on AUC fails, and its approver rejects it. The second
version reaches prod, where the customers have changed, so that its run there finds drift.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import requests

from local import MODELS_BUCKET
from local.containers import packages
from local.http_client import Visitor
from local.waiting import Unexpected, until

ROOT = Path(__file__).resolve().parent.parent
GROUP, KIND = "churn-xgboost", "xgboost"
ENVIRONMENTS = ("dev", "test", "uat", "prod")
Say = Callable[[str, str], None]


class TableStory:
    """The demo of a tabular model on a running service, and its observations."""

    def __init__(self, web: str, folder: Path, say: Say, visitor: Callable[[str], Visitor]) -> None:
        self._web, self._folder, self._say, self._visitor = web, folder, say, visitor
        self.report: dict[str, Any] = {"group": GROUP}

    def run(self, approvers: dict[str, tuple[str, ...]]) -> None:
        """Run this part of the demo.

        Raises:
            Unexpected: a step had another result.
        """
        weak, good = self._train("v1", "--weak"), self._train("v2")
        changed = self._train("changed", "--shifted")
        s3 = boto3.client("s3")
        for environment in ENVIRONMENTS:
            held_out = changed if environment == "prod" else good
            for name in ("input.csv", "references.csv"):
                s3.upload_file(str(held_out / name), MODELS_BUCKET, f"{GROUP}/{environment}/{name}")
        self._register(1, weak)
        self._approve(1, "dev", approvers["dev"])
        self._reject(1, "test")
        self._register(2, good)
        for environment in ENVIRONMENTS:
            self._approve(2, environment, approvers[environment])
        mail = until("the mail about drift", lambda: self._mail("drift", "v2", "prod"))
        self._say("service", f"mailed {', '.join(mail['to'])}: {mail['subject']}")
        self.report["drift"] = mail["subject"]

    def _train(self, name: str, *options: str) -> Path:
        folder = self._folder / name
        command = [packages.python(), str(ROOT / "examples" / "train_tabular.py"), KIND, str(folder), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unexpected(f"training {name} failed: {done.stderr}")
        auc = json.loads((folder / "metrics.json").read_text())["metrics"]["auc"]["value"]
        self._say("data science", f"trained {KIND} {name} on data made on the spot: AUC {auc:.3f}")
        return folder

    def _register(self, version: int, folder: Path) -> None:
        from examples import register_tabular
        from inference.scoring.table_drift import profile_table
        from inference.scoring.tables import read_table

        baseline = profile_table(read_table(folder / "train.csv", header=False, what="training data"))
        given = {"group": GROUP, "bucket": MODELS_BUCKET, "requested_by": "dee@example.com"}
        arn = register_tabular.register(KIND, folder, **given, baseline=baseline)
        self._say("dee", f"registered {GROUP} v{version}: {arn}")

    def _asked(self, version: int, environment: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            return self._mail(f"[{environment}] {GROUP} v{version}")

        mail: dict[str, Any] = until(f"the mail that asks {GROUP} v{version} into {environment}", look)
        return mail

    def _approve(self, version: int, environment: str, names: tuple[str, ...]) -> None:
        link = self._asked(version, environment)["links"][0]
        measured = self._visitor(names[0]).read(link)["evidence"]["metrics"].get("auc", {}).get("value")
        for name in names:
            answer = self._visitor(name).decide(
                link, "Approved", f"An AUC of {measured:.3f} will do for {environment}."
            )
            if answer.status_code != 303:
                raise Unexpected(f"{name} could not approve {GROUP} v{version} for {environment}: {answer.text}")
        until(f"{GROUP} v{version} live in {environment}", lambda: self._live(environment) == version)
        self._say("service", f"{GROUP} v{version} is live in {environment}, on an AUC of {measured:.3f}")
        self.report.setdefault("auc", {})[f"v{version} into {environment}"] = round(measured, 3)

    def _reject(self, version: int, environment: str) -> None:
        link, person = self._asked(version, environment)["links"][0], self._visitor("ann")
        page = person.read(link)
        failed = [gate for gate in page["gates"] if not gate["open"]]
        if page["may_decide"] or not failed:
            raise Unexpected(f"{GROUP} v{version} was not stopped at {environment}.")
        answer = person.decide(link, "Rejected", f"It misses who leaves: {failed[0]['why']}")
        if answer.status_code != 303:
            raise Unexpected(f"ann could not reject {GROUP} v{version}: {answer.text}")
        self._say("ann", f"rejected {GROUP} v{version} for {environment}: {failed[0]['why']}")
        self.report["rejected"] = {"version": version, "environment": environment, "why": failed[0]["why"]}

    def _live(self, environment: str) -> int | None:
        ssm = boto3.client("ssm")
        try:
            value = ssm.get_parameter(Name=f"/promotion/{GROUP}/{environment}/live")["Parameter"]["Value"]
        except ssm.exceptions.ParameterNotFound:
            return None
        return int(json.loads(value)["model_package_version"])

    def _mail(self, *parts: str) -> dict[str, Any] | None:
        """Return the newest mail about this group with all of these words in its subject."""
        found = requests.get(f"{self._web}/_local/mailbox.json", timeout=30).json()
        for mail in found:
            if GROUP in mail["subject"] and all(part in mail["subject"] for part in parts):
                return dict(mail)
        return None
