"""`promotion doctor`: what it says of an account without the service, with it, and with something wrong."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from msgspec.structs import replace

from local import moto_patches
from promotion import names
from promotion.aws.doctor import deployed as condition
from promotion.aws.doctor import limits, readiness, upgrade
from promotion.aws.doctor.findings import Account, Finding, examine
from promotion.aws.doctor.provider import provider as look_at_provider
from promotion.aws.keys import KmsSigner
from promotion.cli import doctor, main
from promotion.config.loading import Config, parse
from promotion.domain.model import FOLD_VERSION
from tests.adapters.conftest import LEDGER, MODELS, PROJECTIONS, Aws
from tests.fakes import CONFIG, CONFIG_TEXT, GROUP, House
from tests.identity.provider import Provider
from tests.identity.tls import TlsProvider

QUOTAS = ("ml.g5.xlarge for transform job usage", "ml.m5.xlarge for processing job usage")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def aws() -> Iterator[Aws]:
    moto_patches.apply()
    with mock_aws():
        yield Aws()


@pytest.fixture
def at_hand(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in effect, without the checks whose operations moto has not."""
    place = tmp_path / "promotion.toml"
    place.write_text(CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer))
    monkeypatch.setenv(names.CONFIG, str(place))
    monkeypatch.setattr(
        doctor, "_READINESS", [each for each in doctor._READINESS if each[0] not in ("quota", "recipients")]
    )
    monkeypatch.setattr(doctor, "_FIRST", [each for each in doctor._FIRST if each[0] not in ("builds", "concurrency")])
    return place


def configured(provider: Provider, **more: str) -> Config:
    text = CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer)
    return parse(text + "".join(f"\n{line}" for line in more.values()))


def account(config: Config | None = CONFIG, **more: Any) -> Account:
    given: dict[str, Any] = {"client": boto3.client, "region": "us-east-1", "prefix": "/promotion", "emulated": False}
    return Account(**{**given, "config": config, **more})


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def deployed(aws: Aws, **more: Any) -> dict[str, Any]:
    """A service as the stack writes it down, with what it stands on."""
    sqs = aws.client("sqs")
    aws.dynamodb.update_table(
        TableName=LEDGER,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        DeletionProtectionEnabled=True,
    )
    for name in (LEDGER, PROJECTIONS):
        aws.dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
    secret = aws.client("secretsmanager").create_secret(Name="identity", SecretString="{}")["ARN"]
    return {
        "api_url": "http://127.0.0.1:9",
        "region": "us-east-1",
        "ledger_table": LEDGER,
        "projections_table": PROJECTIONS,
        "signing_key_arn": aws.signer.key_id,
        "wake_queue_url": sqs.create_queue(QueueName="wake")["QueueUrl"],
        "dead_letter_queue_url": sqs.create_queue(QueueName="dead")["QueueUrl"],
        "undelivered_queue_url": sqs.create_queue(QueueName="undelivered")["QueueUrl"],
        "identity_secret_arn": secret,
        "alarm_topic": aws.client("sns").create_topic(Name="alarms")["TopicArn"],
        "policy_digest": CONFIG.policy_digest(),
        "release": names.RELEASE,
        **more,
    }


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


def test_without_credentials_it_says_so_once(
    at_hand: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert main(["doctor", "--json"]) == 1
    found = {each["check"]: each["state"] for each in json.loads(capsys.readouterr().out)["checks"]}
    assert (found["credentials"], found["identity provider"]) == ("fail", "ok")
    assert "registry" not in found


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
    (found,) = readiness.sender(account(service={}, emulated=True))
    assert found.state == "not checked"


def test_an_artifact_bucket_has_to_be_there_and_keep_versions(aws: Aws) -> None:
    aws.s3.create_bucket(Bucket="bare")
    config = parse(CONFIG_TEXT + f'[artifacts]\nbuckets = ["{MODELS}", "bare", "no-such-bucket"]\n')
    found = list(readiness.artifacts(account(config)))
    assert [each.state for each in found] == ["ok", "warn", "fail"]


def test_groups_that_no_pattern_covers_are_said(aws: Aws) -> None:
    aws.sagemaker.describe_model_package_group(ModelPackageGroupName=GROUP)
    (found,) = readiness.registry(account(parse(CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["sumariser-*"]', 1))))
    assert found.state == "warn"
    (found,) = readiness.registry(account())
    assert found.state == "ok"


def test_a_region_apart_from_the_artifacts_is_said() -> None:
    rungs = [replace(rung, region="eu-west-1") if rung.name == "prod" else rung for rung in CONFIG.environments]
    (found,) = readiness.region(account(replace(CONFIG, environments=tuple(rungs))))
    assert (found.state, "prod" in found.found) == ("fail", True)


@pytest.mark.parametrize(
    ("changes", "check", "state"),
    [
        ({}, "PKCE", "not checked"),
        ({"code_challenge_methods_supported": ["S256", "plain"]}, "PKCE", "ok"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE", "fail"),
        ({"issuer": "https://elsewhere.example"}, "identity provider", "fail"),
        ({"token_endpoint": "http://10.0.0.1/token"}, "identity provider", "fail"),
        ({"jwks_uri": "https://127.0.0.1:1/keys"}, "sign-in keys", "fail"),
        ({"claims_supported": ["sub", "groups"]}, "groups claim", "ok"),
        ({"claims_supported": ["sub"]}, "groups claim", "warn"),
        ({}, "groups claim", "not checked"),
        ({"scopes_supported": ["openid"]}, "scopes", "warn"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "ID tokens", "fail"),
        ({}, "client authentication", "ok"),
        ({"token_endpoint_auth_methods_supported": ["client_secret_post"]}, "client authentication", "ok"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "client authentication", "warn"),
        ({"token_endpoint_auth_methods_supported": ["none"]}, "client authentication", "warn"),
        ({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, "client authentication", "fail"),
    ],
)
def test_what_the_provider_says_of_itself_is_held_to_what_signing_in_needs(
    provider: Provider, changes: dict[str, Any], check: str, state: str
) -> None:
    provider.changes = changes
    found = by_check(list(look_at_provider(account(configured(provider)))))
    assert found[check].state == state


def test_a_configured_method_that_the_provider_does_not_list_is_warned_of(provider: Provider) -> None:
    provider.changes = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    config = configured(provider)
    config = replace(config, identity=replace(config.identity, client_authentication="client_secret_post"))
    assert by_check(list(look_at_provider(account(config))))["client authentication"].state == "warn"


def test_an_authority_of_ones_own_is_trusted_by_ca_bundle_alone(tmp_path: Path) -> None:
    with TlsProvider(tmp_path) as provider:
        config = configured(provider)
        (found,) = look_at_provider(account(config))
        assert found.state == "fail"
        assert "ca_bundle" in found.do
        trusting = replace(config, identity=replace(config.identity, ca_bundle=provider.certificate))
        found_then = by_check(list(look_at_provider(account(trusting))))
    assert (found_then["identity provider"].state, found_then["sign-in keys"].state) == ("ok", "ok")


def test_a_provider_that_does_not_answer_is_said(provider: Provider) -> None:
    provider.down = True
    (found,) = look_at_provider(account(configured(provider)))
    assert found.state == "fail"


def test_a_sound_deployment_has_nothing_to_say_but_what_nobody_did_yet(aws: Aws) -> None:
    service = deployed(aws)
    here = account(service=service)
    found = by_check([*condition.tables(here), *condition.queues(here), *condition.policy(here)])
    assert {each.state for each in found.values()} == {"ok"}
    found = by_check([*condition.client_secret(here), *condition.alarms(here)])
    assert {name: each.state for name, each in found.items()} == {"client secret": "fail", "alarms": "warn"}
    aws.client("secretsmanager").put_secret_value(SecretId=service["identity_secret_arn"], SecretString='{"a": 1}')
    aws.client("sns").subscribe(TopicArn=service["alarm_topic"], Protocol="sms", Endpoint="+15550100")
    found = by_check([*condition.client_secret(here), *condition.alarms(here)])
    assert {each.state for each in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("service", "state"), [({}, "not checked"), ({"release": "0.0.9"}, "warn"), ({"release": names.RELEASE}, "ok")]
)
def test_another_release_than_the_deployed_one_is_said_with_where_to_read(service: dict[str, str], state: str) -> None:
    (found,) = upgrade.release(account(service=service))
    assert found.state == state
    assert ("UPGRADING.md" in found.do) == (state == "warn")


def test_the_release_is_the_distributions() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == names.RELEASE


def test_states_of_another_fold_are_counted_and_are_no_failure(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.climb(1, "dev")
    monkeypatch.setattr(upgrade, "DynamoLedger", lambda client, table: house.ledger)
    here = account(service={"ledger_table": LEDGER})
    (found,) = upgrade.states(here)
    assert (found.state, found.found) == ("ok", f"1 environment state, all of fold {FOLD_VERSION}.")
    house.ledger.alter(GROUP, "ENV#dev", fold=FOLD_VERSION + 1)
    (found,) = upgrade.states(here)
    assert (found.state, f"of fold {FOLD_VERSION + 1}" in found.found) == ("ok", True)
    assert "rebuild --states" in found.do


@pytest.mark.parametrize(("limit", "state"), [(10_000, "ok"), (4, "warn")])
def test_parameters_near_the_limit_are_told_of(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, limit: int, state: str
) -> None:
    for name in ("/promotion/a/dev/live", "/promotion/a/versions/1", "/promotion/b/dev/live", "/elsewhere/x"):
        aws.ssm.put_parameter(Name=name, Value="{}", Type="String")
    monkeypatch.setattr(names, "MOST_PARAMETERS", limit)
    (found,) = limits.parameters(account())
    assert (found.state, found.found.startswith("3 under /promotion")) == (state, True)
    assert ("What grows" in found.do) == (state == "warn")


def test_what_was_set_aside_is_a_failure(aws: Aws) -> None:
    service = deployed(aws)
    aws.client("sqs").send_message(QueueUrl=service["dead_letter_queue_url"], MessageBody="{}")
    found = by_check(list(condition.queues(account(service=service))))
    assert (found["dead letters"].state, found["undelivered"].state) == ("fail", "ok")
    assert "promotion redrive" in found["dead letters"].do


def test_a_ledger_whose_stream_was_switched_off_is_a_failure(aws: Aws) -> None:
    service = deployed(aws)
    aws.dynamodb.update_table(TableName=LEDGER, StreamSpecification={"StreamEnabled": False})
    found = by_check(list(condition.tables(account(service=service))))
    assert (found["ledger"].state, found["projections"].state) == ("fail", "ok")


def test_another_policy_than_the_deployed_one_is_said(aws: Aws) -> None:
    other = parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 1"))
    (found,) = condition.policy(account(other, service={"policy_digest": CONFIG.policy_digest()}))
    assert found.state == "warn"
    (found,) = condition.policy(account(service={}))
    assert found.state == "not checked"


def test_a_renamed_environment_with_a_live_model_is_said(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    house.climb(1, "dev")
    monkeypatch.setattr(condition, "DynamoLedger", lambda client, table: house.ledger)
    here = {"ledger_table": LEDGER}
    (found,) = condition.environments(account(service=here))
    assert found.state == "ok"
    renamed = parse(CONFIG_TEXT.replace('name = "dev"\n', 'name = "development"\n'))
    (found,) = condition.environments(account(renamed, service=here))
    assert (found.state, f"/promotion/{GROUP}/dev/live" in found.do) == ("warn", True)
    ungoverned = parse(CONFIG_TEXT.replace('groups = ["*"]', 'groups = ["other"]', 1))
    (found,) = condition.environments(account(ungoverned, service=here))
    assert (found.state, GROUP in found.found) == ("warn", True)


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
    from datetime import UTC, datetime

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
    ("code", "status", "emulated", "state"),
    [
        ("AccessDeniedException", 400, False, "not checked"),
        ("404", 404, True, "not checked"),
        ("InternalFailure", 501, True, "not checked"),
        ("404", 404, False, "fail"),
        ("ThrottlingException", 400, True, "fail"),
    ],
)
def test_where_aws_lets_nobody_look_the_doctor_says_so(code: str, status: int, emulated: bool, state: str) -> None:
    client = boto3.client("sesv2")
    with Stubber(client) as stub:
        stub.add_client_error("get_account", code, "No.", status)
        look = lambda: readiness.recipients(account(client=lambda service: client))  # noqa: E731
        (found,) = examine("recipients", look, emulated=emulated)
    assert (found.check, found.state) == ("recipients", state)
