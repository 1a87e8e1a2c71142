"""A run's evidence for approvers: samples, slices and pictures, in the mail and on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from local.service import LocalService
from tests.local.people import Person
from tests.rules.markup import Document

GROUP = "shown-logs"
RECORDS = 40
SETTINGS = """
groups = ["*"]
[mail]
sender = "models@example.com"
[identity]
issuer = "https://login.example.com/tenant/v2.0"
client_id = "promotion"
[artifacts]
buckets = ["promotion-models"]
[inference]
bucket = "promotion-models"
[[environments]]
name = "dev"
approver_group = { id = "ml-dev-approvers", name = "ML approvers, dev" }
approvers = ["ann@example.com"]
[[environments]]
name = "test"
approver_group = { id = "ml-test-approvers", name = "ML approvers, test" }
approvers = ["ann@example.com"]
[[environments.gates]]
metric = "rougeL"
min = 0.99
[advanced.mail]
samples_in_mail = true
"""


def test_samples_slices_and_pictures_of_a_run_reach_whoever_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from examples import train_summarizer as summarizer
    from examples.corpus import held_out_logs

    (tmp_path / "promotion.toml").write_text(SETTINGS)
    with LocalService(config=tmp_path / "promotion.toml") as service, Person(service, "ann") as ann:
        session: Any = service.session()
        s3 = session.client("s3")
        for path in summarizer.write_held_out(tmp_path, held_out_logs(RECORDS)):
            s3.upload_file(str(path), "promotion-models", f"{GROUP}/dev/{path.name}")
        # What it says doesn't matter here, and saying less takes less time.
        monkeypatch.setattr(summarizer, "LONGEST_SUMMARY", 8)
        model = summarizer.train(tmp_path / "model", steps=1, quiet=True)
        summarizer.register(
            summarizer.pack(model), {"rougeL": 0.1}, group=GROUP, bucket="promotion-models", requested_by="dee",
            task=summarizer.TASK, baseline=summarizer.baseline(), session=session,
        )  # fmt: skip
        asked = service.wait_for(service.mailbox)[0]
        ann.sign_in(asked["links"][0])
        assert ann.decide(asked["links"][0]).status_code == 303

        def stopped() -> list[dict[str, Any]]:
            return [mail for mail in service.mailbox() if "quality gate failed" in mail["subject"]]

        mail = service.wait_for(stopped, seconds=900)[0]
        assert mail["subject"].startswith(f"[test] {GROUP} v1: quality gate failed (rougeL 0")
        assert "SAMPLE PREDICTIONS, THE WORST FIRST" in mail["text"]
        assert re.search(r"^Weakest slice: .*: rougeL ", mail["text"], re.MULTILINE), mail["text"]
        assert [each["content_type"] for each in mail["attachments"]] == ["image/png"]

        document = ann.json(mail["links"][0])
        assert 3 <= len(document["samples"]) <= 5
        scores = [sample["score"] for sample in document["samples"]]
        assert scores == sorted(scores), "the worst first"
        assert {row["metric"] for row in document["slices"]} >= {"rougeL"}
        assert document["pictures"] == [], "JSON carries the numbers"
        page = ann.browser.get(mail["links"][0]).text
        images = [image for image in Document(page).all("img") if image.attributes["src"].startswith("data:image/png")]
        assert len(images) == 2
        assert images[0].attributes["alt"].startswith("Metrics against gates and the live version: rougeL 0")
        words = Document(page).words
        for said in ("Sample predictions, the worst first", "By slice of the data", "Approving is refused"):
            assert said in words
