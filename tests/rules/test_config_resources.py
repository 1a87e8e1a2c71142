"""Invalid names of AWS resources are refused before a deployment, with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.config.loading import load, parse
from promotion.errors import Invalid
from tests.fakes import CONFIG_TEXT

KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
WHOLE = f"""
[registry]
account = "123456789012"
region = "us-east-1"
[artifacts]
buckets = ["models", "more.models-2"]
[advanced.artifacts]
hash_instance_type = "ml.m5.xlarge"
[inference]
bucket = "inputs"
input = "s3://{{bucket}}/{{group}}/{{environment}}/in.jsonl"
instance_type = "ml.p4d.24xlarge"
schedule = "cron(0 6 * * ? *)"
[advanced.inference]
image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/image:1.2@sha256:{"0" * 64}"
subnets = ["subnet-0123456789abcdef0"]
security_groups = ["sg-0123456789abcdef0"]
volume_key = "{KEY}"
[advanced.web]
domain_name = "models.example.com"
certificate_arn = "{CERTIFICATE}"
"""


def test_names_of_every_kind_are_taken() -> None:
    config = parse(CONFIG_TEXT + WHOLE)
    assert config.inference.volume_key == KEY
    assert config.web.domain_name == "models.example.com"


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"models", "more', '"s3://models", "more', "artifacts.buckets[0]"),
        ("more.models-2", "More_Models", "artifacts.buckets[1]"),
        ('bucket = "inputs"', 'bucket = "inputs/prod"', "inference.bucket"),
        ("ml.m5.xlarge", "m5.xlarge", "advanced.artifacts.hash_instance_type"),
        ("ml.p4d.24xlarge", "p4d", "inference.instance_type"),
        ("s3://{bucket}/{group}", "/data/{group}", "inference.input"),
        ("{group}/{environment}", "{gruop}/{environment}", "inference.input"),
        ("{group}/{environment}", "{group/{environment}", "inference.input"),
        ("123456789012.dkr", "https://123456789012.dkr", "advanced.inference.image"),
        ("cron(0 6 * * ? *)", "daily", "inference.schedule"),
        ('["subnet-0', '["sg-0', "advanced.inference.subnets"),
        ('["sg-0', '["subnet-0', "advanced.inference.security_groups"),
        (KEY, "alias/models", "advanced.inference.volume_key"),
        (KEY, KEY.partition("/")[2], "advanced.inference.volume_key"),
        ("models.example.com", "https://models.example.com", "advanced.web.domain_name"),
        ("models.example.com", "models.example.com/", "advanced.web.domain_name"),
        (CERTIFICATE, CERTIFICATE.replace(":acm:", ":iam:"), "advanced.web.certificate_arn"),
        (CERTIFICATE, CERTIFICATE.replace("us-east-1", "eu-west-1"), "advanced.web.certificate_arn"),
        ('region = "us-east-1"', 'region = "Virginia"', "registry.region"),
        ('client_id = "promotion"', 'client_id = " "', "identity.client_id"),
        ("https://login.example.com/tenant/v2.0", "https://login.example.com/<tenant id>/v2.0", "identity.issuer"),
        ('id = "dev-approvers"', 'id = ""', "environments[0].approver_group.id"),
        ("arn:aws:iam::123456789012:role/operations", "operations", "operators.principals"),
        (
            "[registry]",
            '[advanced.environments.test]\nexecution_role = "data-science"\n[registry]',
            "advanced.environments.test.execution_role",
        ),
        (
            "[registry]",
            '[advanced.environments.test]\nexecution_role = "arn:aws:iam::210987654321:role/data-science"\n[registry]',
            "advanced.environments.test.execution_role",
        ),
    ],
)
def test_an_invalid_name_is_refused_with_its_place(old: str, new: str, place: str) -> None:
    text = CONFIG_TEXT + WHOLE
    assert old in text
    with pytest.raises(Invalid) as refused:
        parse(text.replace(old, new, 1))
    assert refused.value.field == f"promotion.toml {place}"


@pytest.mark.parametrize(
    "file",
    ["promotion.toml", "tests/infra/promotion.toml", "tests/infra/accounts.toml", "tests/security/promotion.toml"],
)
def test_files_of_this_repository_name_what_may_be(file: str) -> None:
    assert load(Path(__file__).parents[2] / file).environments
