"""Verification, rebuilding and export as commands and as the daily function, against AWS as moto has it."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lambdas.handlers import verify as daily
from lambdas.shared.dependencies import signer
from promotion import names
from promotion.aws.ledger_table.anchors import AnchorBucket
from promotion.aws.ledger_table.checking import check
from promotion.aws.ledger_table.differences import DynamoDifferences
from promotion.cli import checking, service
from promotion.client.envelope import seal
from promotion.domain.model import Head
from promotion.errors import Conflict, IntegrityError
from promotion.ledger import attestation
from promotion.ledger.events import Difference
from promotion.ledger.verify import Anchor, Mismatch
from tests.adapters.conftest import ANCHORS, Aws
from tests.adapters.running import LIVE, Command, tamper
from tests.fakes import BEGINNING, GROUP, PREFIX
from tests.faults import resources
from tests.faults.simulation import Simulation


def test_all_is_well_is_said_and_exits_0(command: Command) -> None:
    assert command("verify") == (0, "Everything is as the ledger says.\n")
    assert command("verify", GROUP) == (0, f"{GROUP} is as the ledger says.\n")


def test_a_difference_exits_1_and_0_once_repaired(command: Command) -> None:
    tamper()
    line = f"parameter {LIVE}: expected v1 of event 5, found something that is no record\n"
    assert command("verify", GROUP) == (1, line)
    assert command("verify", GROUP, "--repair") == (0, f"repaired {line}{GROUP} is as the ledger says.\n")
    assert command("verify")[0] == 0
    assert command("resolve", GROUP, "dev")[0] == 0


def test_values_that_only_the_projector_may_write_are_not_reported_as_repaired(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator reads the parameters of another account, and writes none."""
    tamper()

    def denied(**_: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "PutParameter")

    monkeypatch.setattr(service.client("ssm"), "put_parameter", denied)
    line = f"parameter {LIVE}: expected v1 of event 5, found something that is no record\n"
    told = f"promotion: {LIVE} is the projector's to write: promotion rebuild.\n"
    assert command("verify", GROUP, "--repair") == (1, line + told)
    code, said = command("verify", GROUP, "--repair", "--json")
    assert (code, json.loads(said.removesuffix(told))["repaired"]) == (1, 0)


def test_without_a_public_key_the_one_of_kms_verifies_and_that_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(names.PUBLIC_KEY)
    code, said = command("verify", GROUP)
    assert code == 0
    assert "no public key is configured; put the signing key's PEM" in said
    assert f"Verifying with KMS's {signer().key_id} instead.\n" in said


def test_a_repair_that_meets_the_projector_is_done_again_and_one_that_fails_stops_no_other(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def meets() -> None:
        tried.append("meets")
        if len(tried) == 1:
            raise Conflict("the archive has changed")

    def fails() -> None:
        raise IntegrityError("the archive is\ndamaged")

    found = [
        (
            GROUP,
            [Mismatch(difference=Difference(what="parameter", where=where, expected="x", found="y"), repair=repair)],
        )
        for where, repair in (("/a", fails), ("/b", meets))
    ]
    monkeypatch.setattr(checking, "check", lambda *_, **__: found)
    code, said = command("verify", GROUP, "--repair")
    assert (code, tried) == (1, ["meets", "meets"])
    assert "repaired parameter /b: expected x, found y\n" in said
    assert "promotion: /a is not repaired: the archive is damaged\n" in said
    assert "repaired parameter /a" not in said


def test_a_person_who_may_not_store_differences_repairs_all_the_same(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "Query")

    tamper()
    monkeypatch.setattr(DynamoDifferences, "open", denied)
    assert command("verify", GROUP, "--repair")[0] == 0
    assert command("resolve", GROUP, "dev")[0] == 0


def test_a_group_that_aws_does_not_answer_about_is_reported_and_the_others_are_verified(
    running: Simulation, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(bucket: AnchorBucket, group: str | None = None) -> dict[str, list[Anchor]]:
        raise ClientError(
            {"Error": {"Code": "SlowDown", "Message": "Please reduce your request rate."}}, "ListObjectsV2"
        )

    monkeypatch.setattr(AnchorBucket, "known", throttled)
    code, said = command("verify", GROUP)
    assert code == 1
    assert said.startswith(f"unverified {GROUP}: expected an answer of AWS, found An error occurred (SlowDown)")


@pytest.mark.parametrize(
    ("value", "found"), [("[", "no JSON"), ("[]", "no JSON"), ('{"ledger_table": "other"}', "other")]
)
def test_a_description_of_another_service_is_a_difference(running: Simulation, value: str, found: str) -> None:
    tamper(f"{PREFIX}/_service", value)
    [(_, nothing), (_, [other])] = list(check(daily.installation()))
    assert nothing == []
    assert other.difference.line == (
        f"parameter {PREFIX}/_service: expected the ledger ledger, "
        f"found {found}: do two services share the prefix {PREFIX}?"
    )


def test_a_flipped_status_is_told_and_repaired(command: Command, running: Simulation) -> None:
    boto3.client("sagemaker").update_model_package(ModelPackageArn=running.arn(1), ModelApprovalStatus="Rejected")
    code, said = command("verify")
    assert (code, said) == (1, f"registry {running.arn(1)} ModelApprovalStatus: expected Approved, found Rejected\n")
    assert command("verify", "--repair")[0] == 0


def test_a_broken_ledger_is_never_repaired(command: Command) -> None:
    table = boto3.resource("dynamodb").Table("ledger")
    table.delete_item(Key={"pk": f"GROUP#{GROUP}", "sk": "EVENT#0000000003"})
    tamper()
    for arguments in (("verify",), ("verify", "--repair")):
        code, said = command(*arguments)
        assert (code, said) == (1, f"ledger {GROUP} event 3: expected event 3, found nothing before event 4\n")
    assert boto3.client("ssm").get_parameter(Name=LIVE)["Parameter"]["Value"] == "{}"
    assert command("history", GROUP)[0] == 4


def test_a_head_that_nobody_can_read_is_named_whatever_is_asked_for(command: Command) -> None:
    key = {"pk": f"GROUP#{GROUP}", "sk": "HEAD"}
    values: dict[str, Any] = {
        "UpdateExpression": "SET #state = :state",
        "ExpressionAttributeNames": {"#state": "state"},
    }
    boto3.resource("dynamodb").Table("ledger").update_item(Key=key, ExpressionAttributeValues={":state": "["}, **values)
    for arguments in (("verify",), ("verify", GROUP), ("verify", GROUP, "--repair")):
        code, said = command(*arguments)
        assert code == 1
        assert said.startswith(f"ledger {GROUP}: expected events that can be read, found ")


def test_as_json(command: Command) -> None:
    tamper()
    code, said = command("verify", "--json")
    [difference] = json.loads(said)["differences"]
    assert code == 1
    assert difference == {
        "model_package_group": GROUP, "what": "parameter", "where": LIVE, "expected": "v1 of event 5",
        "found": "something that is no record", "repairable": True,
    }  # fmt: skip


def test_an_unknown_group_is_said(command: Command) -> None:
    assert command("verify", "nobody") == (1, "promotion: GROUP: this service knows no model package group nobody.\n")


def test_another_service_on_the_same_prefix_is_told(command: Command) -> None:
    boto3.client("ssm").put_parameter(
        Name=f"{PREFIX}/fraud/dev/live", Value=json.dumps({"key_id": "arn:other"}), Type="String"
    )
    code, said = command("verify")
    assert code == 1
    line = (
        f"parameter {PREFIX}/fraud/dev/live: expected nothing, for the ledger has no such group, found a record signed by "
        f"arn:other: do two services share the prefix {PREFIX}?"
    )
    assert said == f"{line}\n"
    documented = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"| `{line}` |".replace("arn:other", "arn:…") in documented


def test_a_second_service_that_took_the_prefix_over_is_told(command: Command, running: Simulation) -> None:
    name = f"{PREFIX}/_service"
    ssm = boto3.client("ssm")
    known = json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    tamper(name, json.dumps({**known, "ledger_table": "ledger-of-another"}))
    # The command looks where the parameter points to; the daily function knows its own ledger.
    [difference] = [each.difference for _, found in check(daily.installation()) for each in found]
    line = f"parameter {name}: expected the ledger ledger, found ledger-of-another: do two services share the prefix {PREFIX}?"
    assert difference.line == line
    documented = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    assert f"| `{line.replace('ledger-of-another', '…').replace('ledger ledger', 'ledger …')}` |" in documented


def test_a_whole_ledger_wiped_is_missed_by_its_anchors(command: Command) -> None:
    assert daily.handler({}, None) == {"groups": 1, "differences": 0, "anchored": 1, "queued": 0}
    table = boto3.resource("dynamodb").Table("ledger")
    for item in table.scan()["Items"]:
        table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
    code, said = command("verify")
    assert code == 1
    assert f"ledger {GROUP} event 5: expected the hash " in said
    assert "found a ledger that ends at event 0" in said


def test_an_anchor_behind_a_delete_marker_is_still_seen(aws: Aws) -> None:
    bucket = AnchorBucket(aws.s3, ANCHORS)
    key = bucket.keep(Head(group=GROUP, sequence=7, hash="a" * 64, signature="s"), BEGINNING)
    aws.s3.delete_object(Bucket=ANCHORS, Key=key)
    assert "Contents" not in aws.s3.list_objects_v2(Bucket=ANCHORS)
    [anchor] = bucket.known(GROUP)[GROUP]
    assert (anchor.name, anchor.sequence, anchor.hash) == (key, 7, "a" * 64)
    assert bucket.known("other") == {}


def test_history_as_a_story_as_json_and_as_csv(command: Command) -> None:
    code, said = command("history", GROUP)
    assert code == 0
    assert "Ann Adler approved v1 for dev: “Good on every slice.”" in said
    assert len(json.loads(command("history", GROUP, "--json", "--version", "1")[1])) == 4
    rows = list(csv.DictReader(io.StringIO(command("history", GROUP, "--csv")[1])))
    assert [row["sequence"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert (rows[3]["verdict"], rows[3]["actor"], rows[3]["reason"]) == ("Approved", "ann", "Good on every slice.")


def test_the_history_of_a_version_that_is_not_there_is_trouble(command: Command) -> None:
    code, said = command("history", GROUP, "--version", "99")
    assert (code, said) == (1, f"promotion: --version: {GROUP} has no version 99 that this service knows of.\n")


def test_an_exported_decision_is_checked_with_the_public_key_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, file = f"{GROUP}:1:dev:1", str(tmp_path / "decision.json")
    assert command("export", GROUP, asked, "--output", file)[0] == 0
    pem = tmp_path / "promotion.pub"
    pem.write_text(signer().public_key_pem(), encoding="ascii")
    code, said = command("check-bundle", file, "--public-key", str(pem))
    assert code == 0
    assert said.startswith(f"{asked} is as it was recorded: approved.")
    forged = Path(file).read_text(encoding="utf-8").replace("Good on every slice.", "Terrible.")
    Path(file).write_text(forged, encoding="utf-8")
    assert command("check-bundle", file, "--public-key", str(pem))[0] == 4
    assert command("export", GROUP, f"{GROUP}:1:dev:9")[0] == 1
    assert command("check-bundle", str(tmp_path / "none.json"))[0] == 1


def test_an_export_without_a_file_is_the_bundle_and_one_of_another_group_is_refused(command: Command) -> None:
    asked = f"{GROUP}:1:dev:1"
    code, said = command("export", GROUP, asked)
    assert (code, json.loads(said)["request_id"]) == (0, asked)
    for group, wanted in (("nobody", "nobody:1:dev:1"), (GROUP, "nobody:1:dev:1")):
        said = f"promotion: REQUEST_ID: {group} has no request {wanted}.\n"
        assert command("export", group, wanted) == (1, said)


def test_rebuild_brings_everything_back_from_the_ledger_alone(
    running: Simulation, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssm, mails = boto3.client("ssm"), list(running.mails)
    before = dict(_parameters(ssm))
    monkeypatch.setattr("local.moto_patches.ssm.REST_SECONDS", 0)
    for name in before:
        ssm.delete_parameter(Name=name)
    boto3.client("sagemaker").update_model_package(
        ModelPackageArn=running.arn(1),
        ModelApprovalStatus="PendingManualApproval",
        CustomerMetadataPropertiesToRemove=["dev", "test", "prod"],
    )
    running.asynchronous.clear()
    monkeypatch.setattr("promotion.cli.checking.time.sleep", lambda seconds: running.settle())
    code, said = command("rebuild")
    assert (code, said) == (0, f"{GROUP}: rebuilt to event 5\n")
    assert command("verify")[0] == 0
    after = dict(_parameters(ssm))
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if "versions" in k} == {k: v for k, v in before.items() if "versions" in k}
    assert running.mails == mails, "nobody is told again"


def test_a_rebuild_that_no_projector_finishes_ends_with_1(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "REBUILT_WITHIN_S", 0.0)
    said = f"{GROUP}: not rebuilt within 0 s; see the dead-letter queue\n"
    assert command("rebuild", GROUP) == (1, said)
    said = "promotion: GROUP: this service knows no model package group nobody.\n"
    assert command("rebuild", "nobody") == (1, said)


def _parameters(ssm: Any) -> list[tuple[str, str]]:
    from promotion.aws.parameter_store.stored_parameters import read_below

    return [found for found in read_below(ssm, PREFIX) if not found[0].endswith("_service")]


def test_redrive_wakes_what_was_set_aside_and_what_is_behind(running: Simulation, command: Command) -> None:
    running.inside = False
    running.fails_if = lambda call, given: call == "ssm:PutParameter"
    running.measure(1, "dev")
    running.settle()
    assert [json.loads(message.body)["target"] for message in running.dead] == [names.PARAMETERS]
    running.fails_if, running.inside = None, True
    code, said = command("redrive")
    assert code == 0
    assert f"{GROUP}: parameters again from event" in said
    assert (running.dead, len(running.wake)) == ([], 1)
    running.settle()
    assert command("verify")[0] == 0


def test_a_promotion_is_attested_and_its_attestation_checked_with_the_public_key_alone(
    command: Command, tmp_path: Path
) -> None:
    file, signature = tmp_path / "attestation.json", tmp_path / "model.sig"
    code, said = command("attest", GROUP, "1", "dev", "--output", str(file), "--model-signature", str(signature))
    assert (code, "check-bundle" in said) == (0, True)
    assert json.loads(signature.read_text())["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    pem = tmp_path / "promotion.pub"
    pem.write_text(signer().public_key_pem())
    code, said = command("check-bundle", str(file), "--public-key", str(pem))
    assert code == 0
    assert f"{GROUP} v1 was promoted into dev" in said
    assert "model.tar.gz" in said
    envelope = json.loads(file.read_text())
    file.write_text(json.dumps({**envelope, "payload": envelope["payload"][:-8]}))
    assert command("check-bundle", str(file), "--public-key", str(pem))[0] == 4


def test_a_missing_promotion_or_attestation_is_reported(command: Command) -> None:
    assert command("attest", GROUP, "1", "prod")[0] == 1
    boto3.resource("s3").Bucket(resources.EVIDENCE).objects.filter(Prefix=names.ATTESTATIONS).delete()
    code, said = command("attest", GROUP, "1", "dev")
    assert (code, f"promotion rebuild {GROUP}" in said) == (1, True)


def test_a_promotion_without_a_model_signature_has_an_attestation_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = boto3.resource("s3").Bucket(resources.EVIDENCE)
    promoted = next(event for event in service.ledger().events(GROUP) if event.kind == names.MODEL_PROMOTED)
    bucket.Object(attestation.signature_key(promoted, 0)).delete()
    # An auditor needs no promotion.toml: the key of KMS alone verifies.
    monkeypatch.delenv(names.CONFIG)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, said = command("attest", GROUP, "1", "dev")
    assert (code, json.loads(said)["payloadType"]) == (0, "application/vnd.in-toto+json")
    file = tmp_path / "model.sig"
    code, said = command("attest", GROUP, "1", "dev", "--model-signature", str(file))
    assert (code, f"{GROUP} v1 in dev has none" in said, file.exists()) == (1, True, False)


def test_an_attestation_of_another_event_is_refused(command: Command) -> None:
    bucket = boto3.resource("s3").Bucket(resources.EVIDENCE)
    [kept] = [each for each in bucket.objects.filter(Prefix=names.ATTESTATIONS) if each.key.endswith(".json")]
    statement = {
        "_type": attestation.STATEMENT,
        "predicateType": attestation.PREDICATE,
        "predicate": json.loads(base64.b64decode(json.loads(kept.get()["Body"].read())["payload"]))["predicate"],
    }
    statement["predicate"]["ledger"]["hash"] = "0" * 64
    bucket.put_object(Key=kept.key, Body=json.dumps(seal(statement, signer().sign, "key")).encode())
    assert command("attest", GROUP, "1", "dev")[0] == 4
