"""Tabular models by the real libraries and AWS's inference toolkit: registered, approved, run, scored and asked for the next."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples import register_tabular
from inference.scoring.table_drift import profile_table
from inference.scoring.tables import read_table
from local.containers import packages
from local.http_client import Visitor
from local.service import LocalService

ROOT = Path(__file__).parents[2]
BUCKET = "promotion-models"


@pytest.fixture(scope="module")
def service() -> Iterator[LocalService]:
    with LocalService() as service:
        yield service


def made(kind: str, folder: Path) -> Path:
    """A model of this kind, trained by the libraries of its container."""
    command = [packages.python(), str(ROOT / "examples" / "train_tabular.py"), kind, str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.mark.parametrize("kind", ["xgboost", "scikit-learn"])
def test_a_tabular_model_is_measured_by_its_own_container(
    service: LocalService, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, group = made(kind, tmp_path), f"churn-{kind}"
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    s3 = service.session().client("s3")
    for name in ("input.csv", "references.csv"):
        s3.upload_file(str(folder / name), BUCKET, f"{group}/dev/{name}")
    baseline = profile_table(read_table(folder / "train.csv", header=False, what="training data"))
    given = {"group": group, "bucket": BUCKET, "requested_by": "dee@example.com"}
    register_tabular.register(kind, folder, **given, baseline=baseline)
    visitor = Visitor(service.url, "ann").sign_in()
    visitor.decide(link(service, group, "dev"), "Approved", "Its AUC is good.")
    page = visitor.read(link(service, group, "test"))
    measured = page["evidence"]["metrics"]
    registered: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    assert measured["auc"]["value"] == pytest.approx(registered["metrics"]["auc"]["value"], abs=1e-3)
    assert {"pr_auc", "log_loss", "f1", "calibration_error"} <= measured.keys()
    assert page["evidence"]["counts"]["records"] == 800
    assert 0 < max(page["evidence"]["drift"].values()) < 0.25


def link(service: LocalService, group: str, environment: str) -> str:
    """Return the approval link of a group's first version in the mail for an environment."""
    start = f"[{environment}] {group} v1"
    mails = service.wait_for(
        lambda: [mail for mail in service.mailbox() if mail["subject"].startswith(start)], seconds=240
    )
    return str(mails[0]["links"][0])
