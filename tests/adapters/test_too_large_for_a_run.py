"""Folders that a run can't pack, and artifacts that it can't read in time: said with their size, and never a timeout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lambdas.handlers import prepare_inference
from promotion import names
from promotion.aws.s3 import artifact_copies
from promotion.aws.s3.artifact_copies import keep_packed
from promotion.errors import Refused
from tests.adapters.conftest import MODELS, Aws, prepares_runs_of
from tests.adapters.test_folder_artifacts import EVIDENCE, FOLDER, OURS, fake, live, put, registered, s3
from tests.fakes import GROUP, FakeService

__all__ = ["fake", "s3"]

EVENT = {
    "group": GROUP, "environment": "dev",
    "settings": {"execution_role_arn": "arn:aws:iam::123456789012:role/dev", "evidence_bucket": EVIDENCE},
    **{name: f"s3://{MODELS}/{name}.jsonl" for name in ("input", "references")},
}  # fmt: skip


def uploads(client: Any) -> int:
    """Uploads that were begun and neither completed nor aborted."""
    return len(client.list_multipart_uploads(Bucket=EVIDENCE).get("Uploads", []))


def context(seconds: float) -> Any:
    """Return a call's context with so many seconds left."""
    return SimpleNamespace(get_remaining_time_in_millis=lambda: seconds * 1000)


@pytest.fixture
def prepared(fake: FakeService, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    prepares_runs_of(fake, aws, monkeypatch, evidence=EVIDENCE, image=OURS)
    return fake


def test_a_folder_beyond_the_limit_is_refused_before_it_is_read(
    prepared: FakeService, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_copies, "LARGEST_PACKED_BYTES", 5_000)
    s3.delete_object(Bucket=MODELS, Key=f"{FOLDER}config.json")  # a folder that is read raises IntegrityError
    found = prepare_inference.handler(EVENT, None)
    assert (found["run"], found["unmeasured"], found["report"]["status"]) == (False, True, names.SKIPPED)
    assert f"s3://{MODELS}/{FOLDER} has 5.07 kB: a batch transform takes no folder" in found["report"]["reason"]
    assert "at most 5 kB are packed as one archive" in found["report"]["reason"]


def test_a_folder_at_the_limit_is_packed(prepared: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_copies, "LARGEST_PACKED_BYTES", 5_073)
    assert prepare_inference.handler(EVENT, context(900))["run"]


def test_an_artifact_that_is_not_read_in_time_is_told_and_not_timed_out(prepared: FakeService) -> None:
    found = prepare_inference.handler(EVENT, context(40))
    assert (found["run"], found["unmeasured"]) == (False, True)
    assert "too large to be compared within the time" in found["report"]["reason"]


def test_packing_that_runs_out_of_time_says_how_far_it_came_and_leaves_no_upload(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_copies, "SENT_PART_BYTES", 5 << 20)
    put(s3, {"large.bin": bytes(12 << 20)})
    left = iter([900.0, 900.0, 40.0])
    with pytest.raises(Refused, match=r"has 12\.6 MB.*10\.5 MB were packed when the time ended"):
        keep_packed(s3, EVIDENCE, live(registered(s3)), lambda: next(left))
    assert uploads(s3) == 0
