"""Artifacts too large for a function: hashed by a job, and nobody approves until it has ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import time_machine
from botocore.exceptions import ClientError

from lambdas.shared import artifact_hashing
from promotion import names
from promotion.domain.model import Package
from tests.fakes import GROUP
from tests.faults.resources import EVIDENCE, MODELS
from tests.faults.simulation import BEGINNING, Simulation, simulation

ARTIFACT = f"s3://{MODELS}/{GROUP}/1/model.tar.gz"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Simulation]:
    """Every artifact is one for a job here."""
    with simulation(tmp_path, hash_up_to_gb=0.0) as made:
        boto3.client("s3").put_bucket_versioning(Bucket=MODELS, VersioningConfiguration={"Status": "Enabled"})
        made.calls.clear()
        yield made


def later(**time: float) -> AbstractContextManager[Any]:
    return time_machine.travel(BEGINNING + timedelta(**time), tick=True)


def package(service: Simulation) -> Package:
    from lambdas.shared.dependencies import ledger

    with service.without_faults():
        return ledger().view(GROUP).version(1).package


def kinds(service: Simulation) -> list[str]:
    return [kind for kind, *_ in service.story()]


def jobs(service: Simulation) -> list[str]:
    with service.without_faults():
        found = boto3.client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"]
    return sorted(job["ProcessingJobName"] for job in found)


def test_a_job_hashes_what_a_function_has_no_time_for(service: Simulation) -> None:
    service.register()
    service.settle()
    [container] = package(service).containers
    with service.without_faults():
        found = boto3.client("s3").get_object(Bucket=MODELS, Key=f"{GROUP}/1/model.tar.gz")
        body = found["Body"].read()
    assert (container.sha256, container.size) == (hashlib.sha256(body).hexdigest(), len(body))
    assert container.model_data_version_id == found["VersionId"]
    assert kinds(service).count(names.ARTIFACT_HASHED) == 1
    assert not package(service).hashing
    assert service.decide(1, "dev") == 303


def test_until_it_has_ended_nobody_approves_and_the_page_says_why(service: Simulation) -> None:
    service.slow_jobs = True
    service.register()
    service.settle()
    assert (package(service).hashing, package(service).problem) == (True, "")
    assert service.decide(1, "dev") == 403
    assert service.decide(1, "dev", verdict=names.REJECTED) == 303, "who needs no hash to say no may say it"


def test_a_registration_told_thrice_starts_one_job(service: Simulation) -> None:
    service.register()
    service.asynchronous *= 3
    service.settle()
    assert len(jobs(service)) == 1
    assert kinds(service).count(names.ARTIFACT_HASHED) == 1


def test_the_sweep_makes_good_an_end_that_nobody_told_of(service: Simulation) -> None:
    service.slow_jobs = True
    service.register()
    service.settle()
    service.sweep()
    assert package(service).hashing
    service.end_jobs(tell=False)
    service.sweep()
    assert not package(service).hashing
    before = service.story()
    service.sweep()
    assert service.story() == before


def test_a_failed_job_is_reported_and_tried_again_when_it_is_due(service: Simulation) -> None:
    service.failing_jobs = 2
    service.register()
    service.settle()
    assert package(service).hashing
    assert "InternalServerError: We encountered an error." in package(service).problem
    assert service.decide(1, "dev") == 403
    service.sweep()
    assert len(jobs(service)) == 1, "five minutes have not passed"
    with later(minutes=6):
        service.sweep()
        assert len(jobs(service)) == 2
    with later(minutes=15):
        service.sweep()
        assert len(jobs(service)) == 2, "it waits longer each time"
    with later(minutes=40):
        service.sweep()
    assert (package(service).hashing, package(service).problem) == (False, "")
    assert service.differences() == []


def test_a_job_that_keeps_failing_is_given_up_after_a_week_with_a_report(service: Simulation) -> None:
    service.failing_jobs = 1_000
    service.register()
    service.settle()
    for hours in range(0, 24 * 8, 4):
        with later(hours=hours):
            service.sweep()
    assert len(jobs(service)) == artifact_hashing.MOST_TRIES
    assert not package(service).hashing
    assert package(service).problem.startswith("Hashing failed 9 times, and is given up; register the version again.")
    # One event a reason, not one a sweep.
    assert kinds(service).count(names.ARTIFACT_HASHED) <= artifact_hashing.MOST_TRIES + 1


def test_a_damaged_archive_is_a_finding_and_not_tried_again(service: Simulation) -> None:
    service.register()
    with service.without_faults():
        boto3.client("s3").put_object(Bucket=MODELS, Key=f"{GROUP}/1/model.tar.gz", Body=b"\x1f\x8b damaged")
    service.settle()
    service.sweep()
    assert len(jobs(service)) == 1
    assert not package(service).hashing
    assert "the archive is damaged" in package(service).problem
    assert service.decide(1, "dev") == 403


def test_a_job_that_sagemaker_refuses_is_told_and_tried_again(service: Simulation) -> None:
    def refuses(call: str, given: dict[str, Any]) -> bool:
        if call == "sagemaker:CreateProcessingJob":
            said = "The account-level limit is 0 Instances."
            raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": said}}, "CreateProcessingJob")
        return False

    service.fails_if = refuses
    service.register()
    service.settle()
    assert package(service).hashing
    assert "The account-level limit is 0 Instances." in package(service).problem
    service.fails_if = None
    service.sweep()
    assert not package(service).hashing
    assert service.undelivered == []


@pytest.mark.parametrize("call", ["sagemaker:DescribeProcessingJob", "sagemaker:CreateProcessingJob"])
def test_an_error_of_sagemaker_itself_is_no_refusal_and_no_missing_job(service: Simulation, call: str) -> None:
    service.fails_if = lambda name, given: name == call
    service.register()
    service.settle()
    assert service.undelivered
    assert jobs(service) == []
    assert (package(service).hashing, package(service).problem) == (True, "")
    service.fails_if = None
    service.redrive()
    assert not package(service).hashing
    assert len(jobs(service)) == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"artifacts": []}, "is not what a job of this service leaves"),
        ([1], "is not what a job of this service leaves"),
        ({"artifacts": [1]}, "is not what a job of this service leaves"),
        ({"artifacts": [{"artifact": ARTIFACT, "size": "1"}]}, "is not what a job of this service leaves"),
        ({"artifacts": [{"artifact": ARTIFACT, "size": 1, "sha256": "x"}]}, "has no digests"),
        ({"artifacts": [{"artifact": ARTIFACT, "sha256": "a" * 64, "manifest_sha256": "a" * 64}]}, "or no size"),
        ({"artifacts": [{"artifact": "s3://other/model.tar.gz"}]}, "another artifact than when hashing began"),
    ],
)
def test_a_result_that_is_not_of_this_package_is_not_believed(service: Simulation, written: Any, said: str) -> None:
    service.slow_jobs = True
    service.register()
    service.settle()
    service.end_jobs()
    key = artifact_hashing.result_uri(service.arn(1), 1).removeprefix(f"s3://{EVIDENCE}/")
    with service.without_faults():
        boto3.client("s3").put_object(Bucket=EVIDENCE, Key=key, Body=json.dumps(written).encode())
    service.settle()
    assert said in package(service).problem
    assert service.decide(1, "dev") == 403


def test_an_artifact_overwritten_meanwhile_is_hashed_as_it_was(service: Simulation) -> None:
    service.register()
    with service.without_faults():
        s3 = boto3.client("s3")
        before = s3.head_object(Bucket=MODELS, Key=f"{GROUP}/1/model.tar.gz")

    def overwrites(call: str, given: dict[str, Any]) -> bool:
        if call == "sagemaker:CreateProcessingJob":
            with service.without_faults():
                s3.put_object(Bucket=MODELS, Key=f"{GROUP}/1/model.tar.gz", Body=b"something else")
        return False

    service.fails_if = overwrites
    service.settle()
    [container] = package(service).containers
    assert container.model_data_version_id == before["VersionId"]
    assert container.size == before["ContentLength"]


def test_the_end_of_a_job_that_is_not_ours_is_left_alone(service: Simulation) -> None:
    from lambdas.handlers import on_model_registered

    for name in ("model-monitoring-1", "promotion-hash-nobody-v1-00000000-1"):
        event = {"detail-type": names.PROCESSING_STATE_CHANGE, "detail": {"ProcessingJobName": name}}
        assert on_model_registered.take(event, None) == {"ignored": "not a job that hashes"}


@pytest.mark.parametrize("group", ["x" * 63, "a-" * 31 + "a"])
def test_a_jobs_name_is_one_whatever_the_groups(group: str) -> None:
    import re

    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/2147483647"
    name = artifact_hashing.job_name(arn, artifact_hashing.MOST_TRIES)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
