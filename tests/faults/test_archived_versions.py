"""Every command and page that meets a version whose history is in the archive: it answers as for any other version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import requests
import time_machine

from promotion import names
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.cli import checking, main
from promotion.ledger.parameter_documents import entry
from promotion.links.session import Session
from tests.fakes import ANN, GROUP, OPERATOR, PREFIX, signed_in
from tests.faults import resources
from tests.faults.command_service import service_for_command
from tests.faults.people import confirmed_as
from tests.faults.simulation import Simulation
from tests.rules.histories import read_history

# What the folder's promotion.toml gets: of each group the newest version stays, and those that are live or pending.
SETTINGS = f"""
[history]
keep_versions = 1
[advanced.inference]
reporters = ["{OPERATOR.subject}"]
"""
VERSIONS = f"{PREFIX}/{GROUP}/versions"


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Version 1 was live in dev and test, 2 is; 3, 4 and 5 were rejected. Archived: 1, 3 and 4."""
    with service_for_command(tmp_path, monkeypatch, live="test") as made:
        with (tmp_path / names.CONFIG_FILE).open("a", encoding="utf-8") as file:
            file.write(SETTINGS)
        resources.forget()
        made.register()
        made.settle()
        made.promote(2, "test")
        for version in (3, 4, 5):
            made.register()
            made.settle()
            assert made.decide(version, "dev", verdict=names.REJECTED) == 303
            made.settle()
        deliver = checking.wake

        def wake(groups: Any) -> None:
            # Nobody else would deliver, while a command waits.
            deliver(groups)
            made.settle()

        monkeypatch.setattr(checking, "wake", wake)
        monkeypatch.setattr(requests, "post", posted)
        assert present() == {2, 5}
        # A deleted parameter's name may be used again after 30 seconds.
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=1)):
            yield made


def posted(url: str, *, data: str, headers: Mapping[str, str], timeout: float) -> Any:
    """API Gateway: what a command sends comes to `operate`."""
    event = {
        "version": "2.0", "rawPath": "/operations", "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"host": resources.URL.removeprefix("https://"), "content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": "/operations"}, "stage": "$default"}, "body": data,
    }  # fmt: skip
    with confirmed_as(OPERATOR.subject):
        answer = resources.function("operate")(event, None)
    return SimpleNamespace(status_code=answer["statusCode"], reason="", json=lambda: json.loads(answer["body"]))


def present() -> set[int]:
    """Versions with a parameter of their own."""
    pages = boto3.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=VERSIONS, Recursive=True)
    found = [parameter["Name"].removeprefix(f"{VERSIONS}/") for page in pages for parameter in page["Parameters"]]
    return {int(name) for name in found if name.isdecimal()}


def whole(made: Simulation) -> None:
    """Verification finds nothing, and each version reads as the ledger has it, wherever its history is."""
    from lambdas.shared.dependencies import ledger

    made.settle()
    assert made.differences() == []
    bucket = EvidenceBucket(boto3.client("s3"), resources.EVIDENCE)
    events = list(ledger().events(GROUP))
    for state in ledger().versions(GROUP):
        wanted = [entry(event) for event in events if event.version == state.version]
        assert read_history(boto3.client("ssm"), PREFIX, GROUP, state.version, bucket=bucket) == wanted


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def opened(path: str) -> tuple[int, str]:
    """Ann opens a page."""
    from lambdas.shared.dependencies import session_maker

    moment = datetime.now(UTC)
    session = Session(id="s", person=signed_in(ANN, moment), expires_at=moment + timedelta(hours=1))
    path, _, query = path.partition("?")
    event = {
        "version": "2.0", "routeKey": "", "rawPath": path, "rawQueryString": query, "isBase64Encoded": False,
        "queryStringParameters": dict(part.split("=") for part in query.split("&")) if query else {},
        "headers": {"host": resources.URL.removeprefix("https://"), "accept": "text/html"},
        "cookies": [f"__Host-session={session_maker().cookie(session)}"],
        "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default"},
    }  # fmt: skip
    answer = resources.function("web")(event, None)
    return int(answer["statusCode"]), str(answer["body"])


def token(version: int, environment: str) -> str:
    from lambdas.shared.dependencies import keyring

    return str(keyring().approval_token(f"{GROUP}:{version}:{environment}:1"))


def test_what_only_reads_answers_from_the_ledger(
    running: Simulation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bundle, attested = str(tmp_path / "bundle.json"), str(tmp_path / "attested.json")
    for command, wanted in {
        ("history", GROUP, "--version", "1"): "Ann Adler",
        ("history", GROUP, "--version", "3", "--csv"): "Rejected",
        ("status", GROUP): "v2",
        ("diff", GROUP, "1", "2"): "rougeL",
        ("open", GROUP, "3"): f"{resources.URL}/models/{GROUP}/versions/3",
        ("gates", "explain", GROUP, "1", "test"): "All passed.",
        ("export", GROUP, f"{GROUP}:3:dev:1", "--output", bundle): bundle,
        ("check-bundle", bundle): "rejected",
        ("attest", GROUP, "1", "test", "--output", attested): attested,
        ("check-bundle", attested): f"{GROUP} v1 was promoted into test",
        ("resolve", GROUP, "test", "--artifact"): f"{GROUP} v2 is live in test",
        ("verify", GROUP): "as the ledger says",
    }.items():
        code, found = said(capsys, *command)
        assert (code, wanted in found) == (0, True), (command, found)
    for path, status, wanted in (
        (f"/models/{GROUP}", 200, f"/models/{GROUP}/versions/1"),
        (f"/models/{GROUP}/versions/1", 200, "Good on every slice."),
        (f"/models/{GROUP}/versions/2?with=1", 200, "rougeL"),
        (f"/approvals/{token(1, 'test')}", 200, "Good on every slice."),
        (f"/approvals/{token(3, 'dev')}", 200, "Good on every slice."),
        ("/", 200, GROUP),
    ):
        answered, page = opened(path)
        assert (answered, wanted in page) == (status, True), (path, page)
    assert present() == {2, 5}


def test_an_operator_asks_about_an_archived_version_and_it_is_decided(
    running: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    before = running.story()
    assert said(capsys, "ask", GROUP, "1")[0] == 5, "version 2, which is newer, is live"
    assert running.story() == before
    code, found = said(capsys, "ask", GROUP, "3", "--reason", "Its data was cleaned.")
    assert code == 0, found
    whole(running)
    assert present() == {2, 3, 5}
    assert "v3" in said(capsys, "status", GROUP)[1]
    assert "Its data was cleaned." in said(capsys, "history", GROUP, "--version", "3", "--json")[1]
    assert running.decide(3, "dev") == 303
    whole(running)
    assert f"{GROUP} v3 is live in dev" in said(capsys, "resolve", GROUP, "dev", "--artifact")[1]
    assert present() == {2, 3, 5}


def test_an_archived_version_is_asked_for_again_on_its_page(running: Simulation) -> None:
    assert running.ask_again(4, "dev") == 303
    whole(running)
    assert present() == {2, 4, 5}
    # A vote for the request that was closed before comes too late, and changes nothing.
    reason = {"verdict": names.APPROVED, "reason": "By an old mail."}
    assert running.post(f"/approvals/{token(4, 'dev')}", reason) == 409
    assert running.post(f"/approvals/{token(3, 'dev')}", reason) == 409
    whole(running)
    assert present() == {2, 4, 5}


def test_an_environment_is_rolled_back_to_an_archived_version(
    running: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(capsys, "rollback", GROUP, "test", "--to-version", "1", "--reason", "It stutters.")
    assert code == 0, found
    whole(running)
    assert present() == {1, 2, 5}
    assert f"{GROUP} v1 is live in test" in said(capsys, "resolve", GROUP, "test", "--artifact")[1]
    assert running.roll_back("dev", to=1) == 303
    whole(running)
    # Nothing holds version 2 any more, which goes.
    assert present() == {1, 5}
    assert said(capsys, "verify", GROUP)[0] == 0


def test_an_archived_version_is_revoked_and_stays_archived(
    running: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(capsys, "revoke", GROUP, "1", "--reason", "Its data may not be used.")
    assert code == 0, found
    whole(running)
    assert present() == {2, 5}
    assert said(capsys, "rollback", GROUP, "test", "--to-version", "1", "--reason", "Back.")[0] == 5
    assert running.revoke(3) == 303
    whole(running)
    assert present() == {2, 5}
    # The fallback of test is version 1, which is revoked: nothing is live there.
    assert running.revoke(2) == 303
    whole(running)
    assert said(capsys, "resolve", GROUP, "test")[0] == 3


def test_an_archived_version_is_adopted_where_nothing_was_live(
    running: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = said(capsys, "adopt", GROUP, "prod", "1", "--reason", "It served before.")
    assert code == 0, found
    whole(running)
    assert present() == {1, 2, 5}
    assert f"{GROUP} v1 is live in prod" in said(capsys, "resolve", GROUP, "prod")[1]


def test_a_run_and_an_edit_of_the_registry_go_to_the_archive_and_a_report_is_refused(
    running: Simulation, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    running.measure(1, "test")
    running.settle()
    running.flip(3, "Approved")
    running.settle()
    assert (names.APPROVAL_BYPASSED, 3, None) in running.story()
    whole(running)
    assert present() >= {2, 5}
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"metrics": {"rougeL": {"value": 0.8, "n": 60}}}))
    code, found = said(capsys, "report", GROUP, "dev", "1", "--metrics", str(metrics))
    assert code == 5, found
    assert "is not approved for dev" in found
    whole(running)


def test_what_is_damaged_is_repaired_rebuilt_and_folded_again(
    running: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, ssm = boto3.client("s3"), boto3.client("ssm")
    [key] = [
        each["Key"]
        for each in s3.list_objects_v2(Bucket=resources.EVIDENCE, Prefix=f"{names.ARCHIVES}/{GROUP}.v1/")["Contents"]
    ]
    s3.delete_object(Bucket=resources.EVIDENCE, Key=key)
    assert said(capsys, "verify", GROUP)[0] == 1
    code, found = said(capsys, "verify", GROUP, "--repair")
    assert (code, f"repaired evidence {key}" in found) == (0, True), found
    ssm.delete_parameter(Name=f"{PREFIX}/{GROUP}/archive")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=1)):
        code, found = said(capsys, "verify", GROUP, "--repair")
        assert (code, f"repaired parameter {VERSIONS}/1" in found) == (0, True), found
        whole(running)
        assert present() == {2, 5}
        assert said(capsys, "rebuild", GROUP)[0] == 0
        assert said(capsys, "rebuild", GROUP, "--states")[0] == 0
        whole(running)
        assert present() == {2, 5}
        assert said(capsys, "verify", GROUP) == (0, f"{GROUP} is as the ledger says.\n")


def test_a_repair_waits_until_the_name_of_a_deleted_parameter_may_be_used_again(
    running: Simulation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("ssm").delete_parameter(Name=f"{PREFIX}/{GROUP}/archive")
    with time_machine.travel(datetime.now(UTC), tick=False) as clock:
        monkeypatch.setattr("promotion.cli.checking.time.sleep", clock.shift)
        code, found = said(capsys, "verify", GROUP, "--repair")
        assert (code, f"repaired parameter {VERSIONS}/1" in found) == (0, True), found
        assert "is tried again in 31 s" in found
        whole(running)
