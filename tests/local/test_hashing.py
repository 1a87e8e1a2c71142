"""An artifact too large for a function, on one machine: a real job reads it, by the rights of its role, and the request waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from local.service import ROOT, LocalService
from tests.local.people import Person, artifact, mails_to, register
from tests.local.test_loop import live

# A thousand bytes: the group's name makes an artifact smaller than that, a padded one larger.
LIMIT_GB = 1000 / (1 << 30)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service whose functions hash next to nothing themselves."""
    text = (ROOT / "promotion.toml").read_text(encoding="utf-8")
    limited = f"{text}\n[advanced.artifacts]\nhash_in_function_up_to_gb = {LIMIT_GB}\n"
    config = tmp_path_factory.mktemp("hashing") / "promotion.toml"
    config.write_text(limited, encoding="utf-8")
    with LocalService(config=config, inference=False) as running:
        yield running


def large(service: LocalService, group: str) -> bytes:
    """Registers a package with an artifact above the limit."""
    body = artifact(hashlib.shake_256(group.encode()).digest(5000))
    register(service, group, body=body)
    return body


def test_a_large_artifact_is_hashed_by_a_job_and_then_approved(small: LocalService) -> None:
    with Person(small, "ann") as ann:
        ann.sign_in()
        body = large(small, "large")
        link = small.wait_for(lambda: mails_to(small, "ann@example.com", "large"))[-1]["links"][0]

        def hashed() -> bool:
            return not ann.json(link)["package"]["hashing"]

        # The job may end between any two of these.
        seen = ann.json(link)
        if seen["package"]["hashing"]:
            assert seen["why_not"].startswith("The artifact is still being hashed")
            early = ann.decide(link).status_code
            assert early == 403 or (early == 303 and hashed())
        small.wait_for(hashed, seconds=900)
        assert ann.json(link)["state"] == "Approved" or ann.decide(link).status_code == 303
    record = small.wait_for(lambda: live(small, "large"))
    assert record is not None
    [container] = record["containers"]
    assert container["sha256"] == hashlib.sha256(body).hexdigest()
    s3 = small.session().client("s3")
    assert (
        container["model_data_version_id"]
        == s3.head_object(Bucket="promotion-models", Key="large/model.tar.gz")["VersionId"]
    )
    listed = small.session().client("sagemaker").list_processing_jobs(NameContains="-large-")
    [job] = listed["ProcessingJobSummaries"]
    assert job["ProcessingJobName"].startswith("promotion-hash-large-v1-")


def test_a_small_one_needs_no_job(small: LocalService) -> None:
    before = small.session().client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"]
    register(small, "little")
    small.wait_for(lambda: mails_to(small, "ann@example.com", "little"))
    assert small.session().client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"] == before


def test_an_unreadable_artifact_is_reported_on_the_page(small: LocalService) -> None:
    """The job's role may read the buckets of the configuration alone."""
    role = next(
        each["RoleName"]
        for each in small.session().client("iam").list_roles()["Roles"]
        if "HashingRole" in each["RoleName"]
    )
    iam = small.session().client("iam")
    [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    kept = [each for each in document["Statement"] if "promotion-models" not in str(each["Resource"])]
    assert len(kept) < len(document["Statement"])
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps({**document, "Statement": kept}))
    try:
        with Person(small, "ann") as ann:
            ann.sign_in()
            large(small, "unreadable")
            link = small.wait_for(lambda: mails_to(small, "ann@example.com", "unreadable"))[-1]["links"][0]
            said = small.wait_for(lambda: ann.json(link)["package"]["problem"], seconds=900)
            assert said.startswith("Hashing failed, and is tried again. promotion-hash-unreadable-v1-")
            assert ann.json(link)["package"]["hashing"] is True
            assert ann.decide(link).status_code == 403
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
            small.advance_clock(10 * 60)
            small.wait_for(lambda: not ann.json(link)["package"]["hashing"], seconds=900)
            assert ann.json(link)["package"]["problem"] == ""
            assert ann.decide(link).status_code == 303
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
