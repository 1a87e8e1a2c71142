"""Approvals outside the service are detected, reported, and reverted; AWS's own record names the approver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.security.attacked import ANN, BUCKET, Attacked

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = "arn:aws:iam::123456789012:user/administrator"


def events(attacked: Attacked, group: str) -> list[dict[str, Any]]:
    """A group's chain, as the command reads it."""
    found: list[dict[str, Any]] = json.loads(promotion(attacked, "history", group, "--json").stdout)
    return found


def promotion(attacked: Attacked, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        **attacked.service.environment(),
        "PROMOTION_CONFIG": str(attacked.service.home / "promotion.toml"),
    }
    return subprocess.run(
        [sys.executable, "-m", "promotion.cli", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def package(attacked: Attacked, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = attacked.aws("sagemaker").describe_model_package(ModelPackageName=arn)
    return found


def status(attacked: Attacked, arn: str) -> str:
    return str(package(attacked, arn)["ModelApprovalStatus"])


def noticed(attacked: Attacked, arn: str) -> str:
    """Waits until the service has written all that it writes of its own accord."""
    attacked.wait_for(lambda: "dev" in package(attacked, arn).get("CustomerMetadataProperties", {}))
    return arn


def set_status(attacked: Attacked, arn: str, to: str) -> None:
    """As somebody with the rights does in Studio."""
    attacked.aws("sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus=to)


def bypasses(attacked: Attacked, group: str) -> list[dict[str, Any]]:
    return [mail for mail in attacked.service.mailbox() if f"[bypassed] {group} " in mail["subject"]]


def test_an_approval_made_elsewhere_is_recorded_mailed_and_reverted(attacked: Attacked) -> None:
    arn = noticed(attacked, attacked.register("side-door"))
    set_status(attacked, arn, "Approved")
    attacked.wait_for(lambda: bypasses(attacked, "side-door"))
    attacked.wait_for(lambda: status(attacked, arn) == "PendingManualApproval")
    recorded = events(attacked, "side-door")[-1]
    assert recorded["kind"] == "Approval Bypassed"
    assert recorded["data"]["by"] == CONSOLE
    assert (recorded["data"]["status"], recorded["data"]["reverted"]) == ("Approved", True)
    mail = bypasses(attacked, "side-door")[0]
    assert set(mail["to"]) == {"ann@example.com", "ben@example.com", "cho@example.com"}
    assert CONSOLE in mail["text"]
    # Nobody was asked, so nothing is live; who is asked may still decide.
    assert attacked.read(attacked.link("side-door:1:dev:1"))["state"] == "Pending"
    assert promotion(attacked, "resolve", "side-door", "dev").returncode == 3
    attacked.took(attacked.decide("side-door:1:dev:1", ANN))
    attacked.applied("side-door:1:dev:1")
    assert status(attacked, arn) == "Approved"


def test_taking_it_back_is_the_services_own_doing_in_awss_record(attacked: Attacked) -> None:
    arn = noticed(attacked, attacked.register("side-door-system"))
    set_status(attacked, arn, "Approved")
    attacked.wait_for(lambda: status(attacked, arn) == "PendingManualApproval")
    assert package(attacked, arn)["LastModifiedBy"]["IamIdentity"]["SourceIdentity"] == "system"


def test_a_version_that_was_born_approved_is_registered_and_reverted(attacked: Attacked) -> None:
    arn = attacked.register("born-approved", wait=False, ModelApprovalStatus="Approved")
    attacked.wait_for(lambda: bypasses(attacked, "born-approved"))
    attacked.wait_for(lambda: status(attacked, arn) == "PendingManualApproval")
    kinds = [event["kind"] for event in events(attacked, "born-approved")]
    assert kinds[-1] == "Approval Bypassed"
    assert "Approval Requested" in kinds
    assert attacked.read(attacked.link("born-approved:1:dev:1"))["may_decide"] is True


def test_a_rejection_made_elsewhere_is_told_of_and_stays(attacked: Attacked) -> None:
    arn = attacked.register("pulled")
    attacked.took(attacked.decide("pulled:1:dev:1", ANN))
    attacked.applied("pulled:1:dev:1")
    set_status(attacked, arn, "Rejected")
    attacked.wait_for(lambda: bypasses(attacked, "pulled"))
    recorded = events(attacked, "pulled")[-1]
    assert (recorded["kind"], recorded["data"].get("reverted", False)) == ("Approval Bypassed", False)
    assert status(attacked, arn) == "Rejected"


def test_our_own_approval_is_no_bypass_and_names_who_decided(attacked: Attacked) -> None:
    arn = attacked.register("front-door")
    attacked.took(attacked.decide("front-door:1:dev:1", ANN))
    attacked.applied("front-door:1:dev:1")
    by = package(attacked, arn)["LastModifiedBy"]["IamIdentity"]
    assert by["SourceIdentity"] == ANN.subject
    assert "RegistryRole" in by["Arn"]
    assert [event["kind"] for event in events(attacked, "front-door")][-1] == "Model Promoted"


def test_a_run_is_believed_by_its_metrics_and_not_by_its_event(attacked: Attacked) -> None:
    attacked.register("forged-run")
    attacked.took(attacked.decide("forged-run:1:dev:1", ANN))
    attacked.applied("forged-run:1:dev:1")
    before = attacked.state("forged-run")
    good: dict[str, Any] = {"metrics": {"rougeL": {"value": 0.99}}, "model_package_group": "forged-run"}
    good |= {"model_package_version": 1, "environment": "dev"}
    evidence = evidence_bucket(attacked)
    for key, document in (
        ("elsewhere/dev/run/metrics.json", good),
        ("forged-run/dev/another/metrics.json", {**good, "model_package_version": 2}),
        ("forged-run/dev/other-environment/metrics.json", {**good, "environment": "test"}),
        ("forged-run/dev/list/metrics.json", [good]),
        ("forged-run/dev/text/metrics.json", "0.99"),
    ):
        attacked.aws("s3").put_object(Bucket=evidence, Key=key, Body=json.dumps(document).encode())
    attacked.aws("s3").create_bucket(Bucket="attackers")
    attacked.aws("s3").put_object(
        Bucket="attackers", Key="forged-run/dev/run/metrics.json", Body=json.dumps(good).encode()
    )
    report = {
        "model_package_group": "forged-run",
        "model_package_version": 1,
        "environment": "dev",
        "run_id": "forged",
        "status": "Completed",
        "metrics": good["metrics"],
    }
    for uri in (
        "",
        "metrics.json",
        "https://evil.example/metrics.json",
        "s3://attackers/forged-run/dev/run/metrics.json",
        f"s3://{evidence}/elsewhere/dev/run/metrics.json",
        f"s3://{evidence}/forged-run/dev/../../elsewhere/dev/run/metrics.json",
        f"s3://{evidence}/forged-run/dev/nothing/metrics.json",
        f"s3://{evidence}/forged-run/dev/another/metrics.json",
        f"s3://{evidence}/forged-run/dev/other-environment/metrics.json",
        f"s3://{evidence}/forged-run/dev/list/metrics.json",
        f"s3://{evidence}/forged-run/dev/text/metrics.json",
        f"s3://{BUCKET}/forged-run/model.tar.gz",
    ):
        answer = attacked.invoke("on_inference_completed", {"detail": {**report, "metrics_uri": uri}})
        assert "refused" in answer, uri
    for detail in (None, {}, {**report, "model_package_group": ["x"]}, {**report, "environment": "moon"}):
        assert "refused" in attacked.invoke("on_inference_completed", {"detail": detail})
    assert attacked.state("forged-run") == before


def test_a_report_is_the_callers_by_arn_and_asks_for_the_next_environment(attacked: Attacked, tmp_path: Path) -> None:
    attacked.register("reported")
    attacked.took(attacked.decide("reported:1:dev:1", ANN))
    attacked.applied("reported:1:dev:1")
    metrics = tmp_path / "evaluation.json"
    metrics.write_text('{"rougeL": {"value": 0.71, "n": 400}}')
    done = promotion(attacked, "report", "reported", "dev", "1", "--metrics", str(metrics))
    assert f"{CONSOLE} reported an evaluation of v1 in dev" in done.stdout, done.stderr
    shown = attacked.read(attacked.link("reported:1:test:1"))["evidence"]
    assert (shown["reported_by"], shown["metrics"]["rougeL"]["value"]) == (CONSOLE, 0.71)
    kept = attacked.aws("s3").get_object(Bucket=evidence_bucket(attacked), Key=shown["metrics_uri"].split("/", 3)[3])
    assert kept["Body"].read() == metrics.read_bytes()


def test_a_reporter_puts_events_under_their_own_source_alone(attacked: Attacked) -> None:
    attacked.register("untold")
    attacked.took(attacked.decide("untold:1:dev:1", ANN))
    attacked.applied("untold:1:dev:1")
    key = "untold/dev/mine/score/metrics.json"
    report = {"model_package_group": "untold", "model_package_version": 1, "environment": "dev"}
    attacked.aws("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps({**report, "rougeL": 0.8}).encode())
    detail = {**report, "run_id": "mine", "status": "Completed", "metrics_uri": f"s3://{BUCKET}/{key}"}

    def put(source: str) -> None:
        entry = {"Source": source, "DetailType": "Inference Completed", "Detail": json.dumps(detail)}
        attacked.aws("events").put_events(Entries=[{**entry, "EventBusName": attacked.installation["event_bus"]}])

    with pytest.raises(ClientError, match="AccessDenied"):
        put("promotion.inference")
    put("promotion.report")
    attacked.wait_for(lambda: [each for each in events(attacked, "untold") if each["environment"] == "test"])
    assert attacked.read(attacked.link("untold:1:test:1"))["evidence"]["reported_by"] == "account 123456789012"


def test_a_run_of_what_was_never_registered_is_nothing(attacked: Attacked) -> None:
    detail = {"model_package_group": "never", "model_package_version": 1, "environment": "dev", "run_id": "x"}
    answer = attacked.invoke("on_inference_completed", {"detail": {**detail, "status": "Failed", "error": "x"}})
    assert "refused" in answer


def test_no_function_can_have_a_decision_recorded(attacked: Attacked) -> None:
    before = attacked.state("open")
    for operation in ("decide", "approve", "record_decision", "promote", "rollback", "revoke", "adopt", "", None):
        arguments = {"group": "open", "version": 1, "verdict": "Approved", "asked": "open:1:dev:1"}
        answer = attacked.invoke("record", {"operation": operation, "arguments": arguments})
        assert "nothing that a function may record" in answer["error"]
    assert attacked.state("open") == before


def evidence_bucket(attacked: Attacked) -> str:
    configuration = attacked.aws("lambda").get_function_configuration(
        FunctionName=attacked.function("on_inference_completed")
    )
    return str(configuration["Environment"]["Variables"]["EVIDENCE_BUCKET"])


@pytest.fixture(scope="module")
def veteran(attacked: Attacked) -> str:
    """A version that was adopted into test."""
    arn = attacked.register("veteran")
    done = promotion(attacked, "adopt", "veteran", "test", "1", "--reason", "It has served since May.", "--json")
    assert done.returncode == 0, done.stderr
    return arn


class TestAdopting:
    def test_an_adopted_version_is_attested_and_resolved(self, attacked: Attacked, veteran: str) -> None:
        found = attacked.wait_for(lambda: _resolved(attacked, "veteran", "test")) or {}
        assert found["model_package_version"] == 1
        assert found["approved_by"] == [CONSOLE]
        attacked.wait_for(lambda: status(attacked, veteran) == "Approved")
        assert package(attacked, veteran)["CustomerMetadataProperties"]["test"] == "Approved"
        adopted = events(attacked, "veteran")[-1]
        assert (adopted["kind"], adopted["actor"]["kind"]) == ("Model Adopted", "operator")
        assert adopted["data"]["reason"] == "It has served since May."

    @pytest.mark.usefixtures("veteran")
    def test_twice_is_refused(self, attacked: Attacked) -> None:
        again = promotion(attacked, "adopt", "veteran", "test", "1", "--reason", "Again.")
        assert again.returncode == 5, again.stdout + again.stderr
        assert "already" in again.stderr or "is live in test" in again.stderr

    @pytest.mark.usefixtures("veteran")
    def test_a_version_that_is_not_there_is_trouble(self, attacked: Attacked) -> None:
        assert promotion(attacked, "adopt", "veteran", "dev", "9", "--reason", "Why not.").returncode == 1


def _resolved(attacked: Attacked, group: str, environment: str) -> dict[str, Any] | None:
    done = promotion(attacked, "resolve", group, environment, "--json")
    found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found
