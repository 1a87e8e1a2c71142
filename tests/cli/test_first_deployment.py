"""Checks of `promotion doctor` before the first deployment: every cause of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from msgspec.structs import replace

from local import moto_patches
from promotion.aws.doctor import first_deployment
from promotion.aws.doctor.findings import Account, Finding
from promotion.config.loading import Config, parse
from promotion.config.settings import Artifacts, Environment, Inference, Mail, Registry, Web
from tests.fakes import CONFIG, CONFIG_TEXT

HERE, THERE = "123456789012", "444444444444"
ROLE = f"arn:aws:iam::{HERE}:role/data-science"


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    moto_patches.apply()
    with mock_aws():
        yield


def account(config: Config = CONFIG, **more: Any) -> Account:
    given: dict[str, Any] = {"client": boto3.client, "region": "us-east-1", "prefix": "/promotion"}
    return Account(**{**given, "config": config, **more})


def only(findings: Iterator[Finding]) -> Finding:
    (found,) = findings
    return found


def first(**changes: Any) -> Config:
    """The configuration with a first environment that differs."""
    environments: tuple[Environment, ...] = (replace(CONFIG.environments[0], **changes), *CONFIG.environments[1:])
    return replace(CONFIG, environments=environments)


@pytest.mark.parametrize(
    ("there", "setting", "state"),
    [
        ("", "managed", "ok"),
        ("example.com", "managed", "fail"),
        ("example.com", "existing", "ok"),
        ("", "existing", "fail"),
    ],
)
def test_an_identity_is_made_once_in_an_account(there: str, setting: str, state: str) -> None:
    if there:
        boto3.client("sesv2").create_email_identity(EmailIdentity=there)
    mail = Mail(sender="models@example.com", identity=setting)  # type: ignore[arg-type]
    found = only(first_deployment.identity(account(replace(CONFIG, mail=mail))))
    assert found.state == state
    assert bool(found.do) == (state == "fail")


@pytest.mark.parametrize(
    ("own", "default", "state"), [(0, 1, "fail"), (1, 1, "ok"), (None, 0, "fail"), (None, None, "warn")]
)
def test_a_new_account_may_build_no_image(own: int | None, default: int | None, state: str) -> None:
    client = boto3.client("service-quotas")
    # An empty page is not the last one.
    first_page: dict[str, Any] = {"Quotas": [], "NextToken": "more"}
    with Stubber(client) as stub:
        for operation, value in (("list_service_quotas", own), ("list_aws_default_service_quotas", default)):
            quotas = [] if value is None else [{"QuotaName": first_deployment.BUILDS, "Value": float(value)}]
            stub.add_response(operation, first_page, {"ServiceCode": "codebuild"})
            stub.add_response(operation, {"Quotas": quotas}, {"ServiceCode": "codebuild", "NextToken": "more"})
            if quotas:
                break
        found = only(first_deployment.builds(account(client=lambda service: client)))
        stub.assert_no_pending_responses()
    assert found.state == state


def test_an_image_of_ones_own_needs_no_build() -> None:
    named = replace(CONFIG, inference=Inference(image="image:1"))
    assert list(first_deployment.builds(account(named, client=lambda service: None))) == []


@pytest.mark.parametrize(("most", "state"), [(10, "warn"), (1000, "ok")])
def test_a_new_account_runs_ten_functions_at_once(most: int, state: str) -> None:
    client = boto3.client("lambda")
    with Stubber(client) as stub:
        stub.add_response("get_account_settings", {"AccountLimit": {"ConcurrentExecutions": most}})
        assert only(first_deployment.concurrency(account(client=lambda service: client))).state == state


def test_buckets_of_inputs_have_to_be_there() -> None:
    boto3.client("s3").create_bucket(Bucket="data-lake")
    inference = Inference(input="s3://data-lake/{group}.jsonl", references="s3://gone/{group}.jsonl")
    named = replace(CONFIG, inference=inference, artifacts=Artifacts(buckets=("promotion-models",)))
    found = {each.found: each.state for each in first_deployment.buckets(account(named))}
    assert found == {"data-lake is there.": "ok", "there is no bucket gone.": "fail"}


def test_keys_have_to_be_there_switched_on_and_for_encryption() -> None:
    kms = boto3.client("kms")
    right, off = (kms.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"] for _ in range(2))
    signs = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    kms.disable_key(KeyId=off.rpartition("/")[2])
    gone = right[:-12] + "0" * 12
    for key, state in ((right, "ok"), (off, "fail"), (signs, "fail"), (gone, "fail")):
        for named in (
            replace(CONFIG, artifacts=Artifacts(keys=(key,))),
            replace(CONFIG, inference=Inference(output_key=key)),
            first(volume_key=key),
        ):
            assert only(first_deployment.keys(account(named))).state == state, key


def test_a_key_that_aws_manages_is_shared_with_nobody() -> None:
    managed = {"KeyId": "k", "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "KeyManager": "AWS"}
    client = boto3.client("kms")
    shared = replace(first(account=THERE), registry=Registry(account=HERE, region="us-east-1"))
    for config, state in ((CONFIG, "ok"), (shared, "fail")):
        with Stubber(client) as stub:
            stub.add_response("describe_key", {"KeyMetadata": managed})
            named = replace(config, artifacts=Artifacts(keys=("k",)))
            assert only(first_deployment.keys(account(named, client=lambda service: client))).state == state


def test_leftovers_of_an_earlier_installation_are_a_failure() -> None:
    several = replace(first(account=THERE), registry=Registry(account=HERE, region="us-east-1"))
    assert only(first_deployment.taken(account(several))).state == "ok"
    kms = boto3.client("kms")
    kms.create_alias(AliasName="alias/promotion-signing", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    assert "alias/promotion-signing" in only(first_deployment.taken(account())).found
    assert only(first_deployment.taken(account(replace(CONFIG, ledger_table="ledger")))).state == "ok"
    assert only(first_deployment.taken(account(prefix="/team-a/promotion"))).state == "ok"
    boto3.client("s3").create_bucket(Bucket=f"promotion-evidence-{HERE}-us-east-1")
    boto3.client("events").create_event_bus(Name="promotion")
    boto3.client("iam").create_role(RoleName="promotion-forwarder", AssumeRolePolicyDocument="{}")
    found = only(first_deployment.taken(account(several))).found
    assert all(word in found for word in ("evidence", "event bus promotion", "role promotion-forwarder", "alias"))


@pytest.mark.parametrize(
    ("certificate", "taken", "state"),
    [
        ({"Status": "ISSUED", "DomainName": "*.example.com"}, False, "ok"),
        ({"Status": "ISSUED", "DomainName": "models.example.com"}, True, "fail"),
        ({"Status": "PENDING_VALIDATION", "DomainName": "models.example.com"}, None, "fail"),
        ({"Status": "ISSUED", "DomainName": "other.example.com"}, None, "fail"),
        (None, None, "fail"),
    ],
)
def test_a_domain_needs_its_certificate_and_to_be_free(
    certificate: dict[str, Any] | None, taken: bool | None, state: str
) -> None:
    acm, api = boto3.client("acm"), boto3.client("apigatewayv2")
    web = Web(domain_name="models.example.com", certificate_arn=f"arn:aws:acm:us-east-1:{HERE}:certificate/c")
    with Stubber(acm) as certificates, Stubber(api) as domains:
        if certificate is None:
            certificates.add_client_error("describe_certificate", "ResourceNotFoundException")
        else:
            certificates.add_response("describe_certificate", {"Certificate": certificate})
        if taken:
            domains.add_response("get_domain_name", {"DomainName": "models.example.com"})
        elif taken is False:
            domains.add_client_error("get_domain_name", "NotFoundException", http_status_code=404)
        clients = {"acm": acm, "apigatewayv2": api}
        found = only(first_deployment.domain(account(replace(CONFIG, web=web), client=clients.__getitem__)))
    assert found.state == state


def test_subnets_groups_and_roles_have_to_be_there() -> None:
    subnet = boto3.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    inference = Inference(subnets=(subnet,), security_groups=("sg-0123456789abcdef0",))
    found = [each.state for each in first_deployment.network(account(replace(CONFIG, inference=inference)))]
    assert found == ["ok", "fail"]
    named = first(execution_role=ROLE)
    assert only(first_deployment.roles(account(named))).state == "fail"
    boto3.client("iam").create_role(RoleName="data-science", AssumeRolePolicyDocument="{}")
    assert only(first_deployment.roles(account(named))).state == "ok"


def test_the_quota_is_of_the_builds_that_the_stack_asks_for() -> None:
    text = (Path(__file__).parents[2] / "infra" / "image.py").read_text(encoding="utf-8")
    assert 'compute_type="BUILD_GENERAL1_LARGE"' in text
    assert "Linux/Large" in first_deployment.BUILDS


def test_a_configuration_of_the_house_needs_none_of_it() -> None:
    plain = parse(CONFIG_TEXT)
    for check in (first_deployment.domain, first_deployment.network, first_deployment.roles, first_deployment.keys):
        assert list(check(account(plain))) == []
