"""`promotion doctor`: what it says of an account without the service, with it, and with something wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber
from moto.core.exceptions import JsonRESTError
from moto.ssm import models as ssm
from msgspec.structs import replace

from promotion import names
from promotion.aws.doctor import deployed as condition
from promotion.aws.doctor import readiness
from promotion.aws.doctor.findings import Account, Finding, examine, fail, ok
from promotion.aws.keys import KmsSigner
from promotion.cli import doctor, main, sign_in
from promotion.config.loading import parse
from promotion.errors import Invalid
from tests.adapters.conftest import MODELS, Aws
from tests.cli.doctor_account import account, deployed
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP
from tests.identity.provider import Provider

QUOTAS = ("ml.g5.xlarge for transform job usage", "ml.m5.xlarge for processing job usage")


@pytest.fixture
def at_hand(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in effect. moto refuses the operations of the checks `builds` and `concurrency`."""
    place = tmp_path / "promotion.toml"
    place.write_text(CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer))
    monkeypatch.setenv(names.CONFIG, str(place))
    return place


def test_nothing_deployed_is_no_failure_and_a_missing_bootstrap_is(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["deployed"]) == (False, False)
    states = {each["check"]: each for each in found["checks"]}
    assert states["CDK bootstrap"]["state"] == "fail"
    assert states["CDK bootstrap"]["do"].startswith("npx cdk bootstrap")
    assert states["service"]["state"] == "not checked"
    assert states["identity provider"]["state"] == "ok"


def test_each_finding_is_one_line(aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 1
    *lines, empty, sums = capsys.readouterr().out.splitlines()
    assert empty == ""
    assert all(line.split("  ")[0] in ("ok", "warn", "fail", "not checked") for line in lines)
    assert sums.endswith("not checked.")


def test_a_whole_service_is_looked_at_from_what_the_stack_wrote(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.ssm.put_parameter(Name="/promotion/_service", Value=json.dumps(deployed(aws)), Type="String")
    assert main(["doctor", "--write-key", "--mail", "ann@example.com", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    states: dict[str, str] = {each["check"]: each["state"] for each in found["checks"]}
    assert found["deployed"]
    assert {name for name, state in states.items() if state == "fail"} == {
        "CDK bootstrap", "sender", "pages", "client secret", "test mail",
    }  # fmt: skip
    assert states["public key"] == "ok"
    assert states["policy"] == "ok"
    assert (at_hand.parent / "promotion.pub").read_text() == aws.signer.public_key_pem()


def test_causes_of_a_failing_first_deployment_are_checked_before_it_and_not_after_it(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def checks() -> set[str]:
        main(["doctor", "--json"])
        return {each["check"] for each in json.loads(capsys.readouterr().out)["checks"]}

    assert {"mail identity", "names"} <= checks()
    aws.ssm.put_parameter(Name="/promotion/_service", Value=json.dumps(deployed(aws)), Type="String")
    assert not {"mail identity", "names"} & checks()


def test_the_accounts_of_environments_are_looked_at_too(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = at_hand.read_text().replace('name = "prod"', 'name = "prod"\naccount = "444444444444"', 1)
    here = '\n[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[artifacts]\nbuckets = ["models"]\n'
    at_hand.write_text(text + here)
    main(["doctor", "--json"])
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert found["account of prod"]["found"] == "444444444444, 0 live models."
    assert found["prod: CDK bootstrap"]["state"] == "fail"


def test_a_service_that_may_not_be_read_is_not_said_to_be_missing(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ssm.SimpleSystemManagerBackend.get_parameter

    def get_parameter(self: ssm.SimpleSystemManagerBackend, name: str) -> Any:
        if name == "/promotion/_service":
            raise JsonRESTError("AccessDeniedException", "not authorized")
        return own(self, name)

    monkeypatch.setattr(ssm.SimpleSystemManagerBackend, "get_parameter", get_parameter)
    main(["doctor", "--json"])
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    assert found["service"]["state"] == "not checked"
    assert found["service"]["found"] == "/promotion/_service can't be read: AccessDeniedException."


@pytest.mark.parametrize("value", ["[", "null", "{}"])
def test_a_services_parameter_that_was_overwritten_is_a_failure(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    aws.ssm.put_parameter(Name="/promotion/_service", Value=value, Type="String", Overwrite=True)
    assert main(["doctor"]) == 1
    assert "/promotion/_service is not what the stack wrote. Deploy again." in capsys.readouterr().out


def test_a_sign_in_is_made_with_the_address_that_was_named(
    aws: Aws, at_hand: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def ask(account: Account, *, callback: str | None) -> list[Finding]:
        asked.append(callback)
        return [fail("sign-in", "access_denied", "")]

    monkeypatch.setattr(sign_in, "ask", ask)
    for arguments in ([], ["--sign-in"], ["--sign-in", "--callback", "https://promotion.example.com/callback"]):
        assert main(["doctor", *arguments]) == 1
        assert ("access_denied" in capsys.readouterr().out) == bool(arguments)
    assert asked == [None, "https://promotion.example.com/callback"]


def test_without_credentials_it_says_so_once(
    at_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main(["doctor", "--json"]) == 1
    said = capsys.readouterr().out
    found = {each["check"]: each["state"] for each in json.loads(said)["checks"]}
    assert (found["credentials"], found["identity provider"]) == ("fail", "ok")
    assert not {"registry", "CDK bootstrap"} & found.keys()
    assert "locate credentials" not in said


def test_a_wrong_configuration_is_a_finding_with_its_place(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "promotion.toml"
    place.write_text(CONFIG_TEXT.replace("quorum = 2", "quorom = 2"))
    monkeypatch.setenv(names.CONFIG, str(place))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "quorom" in said
    assert "CDK bootstrap" in said


@pytest.mark.parametrize(("version", "state"), [("5", "fail"), ("6", "ok"), ("29", "ok")])
def test_an_old_bootstrap_is_not_enough(aws: Aws, version: str, state: str) -> None:
    aws.ssm.put_parameter(Name=readiness.BOOTSTRAP_PARAMETER, Value=version, Type="String")
    (found,) = readiness.bootstrap(account())
    assert found.state == state


@pytest.mark.parametrize(
    ("values", "states"),
    [((0, 5), ("fail", "ok")), ((1, 5), ("warn", "ok")), ((3, 3), ("ok", "ok")), ((None, 3), ("warn", "ok"))],
)
def test_the_quota_is_that_of_the_configured_instance(
    values: tuple[float | None, float], states: tuple[str, str]
) -> None:
    client = boto3.client("service-quotas")
    quotas = [
        {"QuotaName": name, "Value": float(value)}
        for name, value in zip(QUOTAS, values, strict=True)
        if value is not None
    ]
    with Stubber(client) as stub:
        stub.add_response("list_service_quotas", {"Quotas": quotas}, {"ServiceCode": "sagemaker"})
        if None in values:
            stub.add_response("list_aws_default_service_quotas", {"Quotas": []}, {"ServiceCode": "sagemaker"})
        found = list(readiness.quota(account(client=lambda service: client)))
        stub.assert_no_pending_responses()
    assert tuple(each.state for each in found) == states


@pytest.mark.parametrize(
    ("answer", "verified", "state"),
    [
        ({"ProductionAccessEnabled": True, "SendingEnabled": True}, None, "ok"),
        ({"ProductionAccessEnabled": True, "SendingEnabled": False}, None, "fail"),
        ({"ProductionAccessEnabled": False, "SendingEnabled": True}, True, "warn"),
        ({"ProductionAccessEnabled": False, "SendingEnabled": True}, False, "fail"),
    ],
)
def test_the_sandbox_mails_only_those_whom_it_knows(answer: dict[str, bool], verified: bool | None, state: str) -> None:
    client = boto3.client("sesv2")
    with Stubber(client) as stub:
        stub.add_response("get_account", answer)
        if verified is not None:
            for _ in range(3 if verified else 6):
                stub.add_response("get_email_identity", {"VerifiedForSendingStatus": verified})
        (found,) = readiness.recipients(account(client=lambda service: client))
    assert found.state == state


def test_a_sender_that_nobody_verified_is_said(aws: Aws) -> None:
    (found,) = readiness.sender(account())
    assert found.state == "warn"
    (found,) = readiness.sender(account(service={}))
    assert found.state == "fail"
    aws.client("sesv2").create_email_identity(EmailIdentity="example.com")
    (found,) = readiness.sender(account(service={}))
    assert found.state == "fail"


@pytest.mark.parametrize(
    ("address", "domain", "state", "found"),
    [
        (True, None, "ok", "SES sends as models@example.com."),
        (None, True, "ok", "SES sends as models@example.com."),
        (False, True, "ok", "SES sends as models@example.com."),
        (False, None, "fail", "SES has not verified models@example.com."),
        (None, None, "fail", "SES doesn't know models@example.com."),
    ],
)
def test_a_sender_is_verified_by_its_address_or_its_domain(
    address: bool | None, domain: bool | None, state: str, found: str
) -> None:
    client = boto3.client("sesv2")
    with Stubber(client) as stub:
        for verified in (address, domain):
            if verified is None:
                stub.add_client_error("get_email_identity", "NotFoundException", "No.", 404)
            else:
                stub.add_response("get_email_identity", {"VerifiedForSendingStatus": verified})
        (finding,) = readiness.sender(account(client=lambda service: client, service={}))
    assert (finding.state, finding.found) == (state, found)


def test_an_endpoint_address_softens_no_check(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    """An address of a VPC endpoint is no emulator: what is unprotected is said."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com")
    key = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
    aws.client("dynamodb").create_table(
        TableName="bare", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST", **key
    )
    ledger, projections = condition.tables(account(service={"ledger_table": "bare", "projections_table": "bare"}))
    assert (ledger.state, projections.state) == ("fail", "warn")
    assert "point-in-time recovery" in projections.found


def test_an_artifact_bucket_has_to_be_there_and_keep_versions(aws: Aws) -> None:
    aws.s3.create_bucket(Bucket="bare")
    config = parse(CONFIG_TEXT + f'[artifacts]\nbuckets = ["{MODELS}", "bare", "no-such-bucket"]\n')
    found = list(readiness.artifacts(account(config)))
    assert [each.state for each in found] == ["ok", "warn", "fail"]


def test_an_artifact_bucket_of_another_region_is_a_failure(aws: Aws) -> None:
    boto3.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    (found,) = readiness.artifacts(account(parse(CONFIG_TEXT + '[artifacts]\nbuckets = ["far"]\n')))
    assert (found.state, found.found) == ("fail", "far is in eu-west-1.")


def test_groups_that_no_pattern_covers_are_said(aws: Aws) -> None:
    aws.sagemaker.describe_model_package_group(ModelPackageGroupName=GROUP)
    (found,) = readiness.registry(account(parse(CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["sumariser-*"]', 1))))
    assert found.state == "warn"
    (found,) = readiness.registry(account())
    assert found.state == "ok"


def test_an_environment_without_a_gate_or_with_too_few_approvers_is_warned_of() -> None:
    text = CONFIG_TEXT.replace("quorum = 2", "quorum = 3")
    ungated = [replace(each, gates=()) if each.name == "prod" else each for each in parse(text).environments]
    found = {
        each.check: each for each in readiness.configuration(account(replace(CONFIG, environments=tuple(ungated))))
    }
    assert (found["gates"].state, found["gates"].found) == ("warn", "prod has no gate.")
    assert (found["quorum"].state, found["quorum"].found) == ("warn", "prod mails fewer people than have to approve.")


@pytest.mark.parametrize(("off_s", "state"), [(0, "ok"), (90, "warn"), (-90, "warn"), (400, "fail")])
def test_a_clock_apart_from_that_of_aws_is_said(off_s: int, state: str) -> None:
    client = boto3.client("sts")
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=off_s))
    with Stubber(client) as stub:
        caller = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ann"}
        stub.add_response("get_caller_identity", {**caller, "ResponseMetadata": {"HTTPHeaders": {"date": date}}})
        credentials, clock = readiness.credentials(account(client=lambda service: client))
    assert (credentials.state, clock.check, clock.state) == ("ok", "clock", state)


def test_a_region_apart_from_the_artifacts_is_said() -> None:
    environments = [replace(each, region="eu-west-1") if each.name == "prod" else each for each in CONFIG.environments]
    (found,) = readiness.region(account(replace(CONFIG, environments=tuple(environments))))
    assert (found.state, "prod" in found.found) == ("fail", True)


def test_the_configured_key_is_held_to_that_of_kms(aws: Aws) -> None:
    here = account(service={"signing_key_arn": aws.signer.key_id})
    stranger = KmsSigner(
        aws.client("kms"),
        aws.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"],
    ).public_key_pem()
    ours = aws.signer.public_key_pem()
    keys = (None, ours, stranger, stranger + ours, "-----BEGIN nonsense")
    found = [next(iter(condition.public_key(here, key))).state for key in keys]
    assert found == ["warn", "ok", "fail", "ok", "fail"]


def test_the_key_is_written_once_and_never_over_another(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.CONFIG, str(tmp_path / "promotion.toml"))
    here = account(service={"signing_key_arn": aws.signer.key_id})
    assert doctor.write_key(here).state == "ok"
    assert (tmp_path / "promotion.pub").read_text() == aws.signer.public_key_pem()
    assert doctor.write_key(here).state == "ok"
    (tmp_path / "promotion.pub").write_text("another")
    assert doctor.write_key(here).state == "fail"
    assert (tmp_path / "promotion.pub").read_text() == "another"
    assert doctor.write_key(account()).state == "fail"


def test_a_test_mail_goes_out_as_the_services_own_do(aws: Aws) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ses.models import ses_backends

    aws.client("sesv2").create_email_identity(EmailIdentity="models@example.com")
    aws.client("ses").verify_email_identity(EmailAddress="models@example.com")
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    (found,) = condition.test_mail(account(), "ann@example.com", now)
    assert found.state == "ok"
    (sent,) = ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages
    assert set(sent.destinations) == {"ann@example.com"}
    assert "promotion doctor" in sent.raw_data


def test_pages_that_nobody_reaches_are_a_failure() -> None:
    (found,) = condition.pages(account(service={"api_url": "http://127.0.0.1:9"}))
    assert found.state == "fail"


@pytest.mark.parametrize(
    ("code", "status", "state"),
    [
        ("AccessDeniedException", 400, "not checked"),
        ("404", 404, "fail"),
        ("InternalFailure", 501, "fail"),
        ("ThrottlingException", 400, "fail"),
    ],
)
def test_the_doctor_reports_checks_that_aws_does_not_allow(code: str, status: int, state: str) -> None:
    client = boto3.client("sesv2")
    with Stubber(client) as stub:
        stub.add_client_error("get_account", code, "No.", status)
        look = lambda: readiness.recipients(account(client=lambda service: client))  # noqa: E731
        (found,) = examine("recipients", look)
    assert (found.check, found.state) == ("recipients", state)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ResponseParserError("not XML"), "none of AWS's"),
        (
            EndpointConnectionError(endpoint_url="https://sts"),
            "AWS could not be asked: Could not connect to the endpoint",
        ),
        (Invalid("region", "there is none."), "there is none."),
    ],
)
def test_a_check_that_can_not_run_is_a_finding(error: Exception, said: str) -> None:
    def look() -> Iterator[Finding]:
        yield ok("first", "good.")
        raise error

    first, found = examine("service", look)
    assert (first.state, found.check, found.state) == ("ok", "service", "fail")
    assert said in found.found
