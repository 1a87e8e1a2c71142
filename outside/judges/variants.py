"""The configurations whose templates are judged: each uses settings that no other one has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests" / "infra"
KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
ROLE = "arn:aws:iam::123456789012:role/data-science"

ENDPOINT = '[advanced.environments.{name}.endpoint]\ngroups = ["chat-*"]\n'
OWN_DOMAIN = """
[advanced.web]
domain_name = "models.example.com"
certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
"""
CHANNELS = """
[channels.releases]
topic = "arn:aws:sns:us-east-1:123456789012:releases"
[advanced.channels.releases]
events = ["Model Promoted", "Model Rolled Back"]
groups = ["summaries", "fraud-*"]
[channels.chat-room]
webhook_secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:chat-AbCdEf"
"""
DRIFT = """
[[advanced.drift.monitors]]
schedule = "summaries-*"
group = "summaries"
environment = "prod"
bucket = "monitoring-reports"
[advanced.drift.retraining."summ*"]
pipeline = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/retrain-summaries"
parameters = { Group = "{group}" }
"""
NETWORK = f"""[advanced.inference]
subnets = ["subnet-1"]
security_groups = ["sg-1"]
volume_key = "{KEY}"
output_key = "{KEY}"
score_instance_type = "ml.m5.xlarge"
hyper_params = '{{"max_new_tokens": 64}}'
"""
ELSEWHERE = '[advanced.environments.{name}.endpoint]\ngroups = ["chat-*"]\nlargest_latency_ms = 900.0\n'


def one_account() -> str:
    """Four environments in one account."""
    return (TESTS / "promotion.toml").read_text(encoding="utf-8")


def four_accounts() -> str:
    """An account for each environment, and operators."""
    return (TESTS / "accounts.toml").read_text(encoding="utf-8")


def served(text: str, section: str, *environments: str) -> str:
    """The same with an endpoint in these environments."""
    return text + "".join(section.replace("{name}", name) for name in environments)


def network_and_keys() -> str:
    """A custom network, keys and an execution role, keys on artifacts, and inputs elsewhere."""
    text = one_account().replace("[advanced.inference]\n", NETWORK)
    text = text.replace('buckets = ["promotion-models"]', f'buckets = ["promotion-models"]\nkeys = ["{KEY}"]')
    text = text.replace(
        'bucket = "promotion-models"\n', 'bucket = "promotion-runs"\ninput = "s3://data-lake/{group}.jsonl"\n'
    )
    return f'{text}[advanced.environments.dev]\nexecution_role = "{ROLE}"\n'


def first() -> str:
    """The least that can be deployed: one environment, no bucket named, an SES identity that is there already."""
    text = one_account().split('[[environments]]\nname = "test"')[0]
    text = text.replace('[artifacts]\nbuckets = ["promotion-models"]\n', "")
    return text.replace('sender = "models@example.com"', 'sender = "models@example.com"\nidentity = "existing"')


def china() -> str:
    """Another partition, in two accounts."""
    text = four_accounts().replace("us-east-1", "cn-north-1").replace("arn:aws:", "arn:aws-cn:")
    return text.replace('account = "222222222222"\n', "").replace('account = "333333333333"\n', "")


VARIANTS: Mapping[str, Callable[[], str]] = {
    "default": one_account,
    "four accounts": four_accounts,
    "endpoints": lambda: served(one_account(), ENDPOINT, "dev", "prod"),
    "endpoints elsewhere": lambda: served(four_accounts(), ELSEWHERE, "prod"),
    "network and keys": network_and_keys,
    "own domain": lambda: one_account() + OWN_DOMAIN,
    "channels": lambda: one_account() + CHANNELS,
    "drift": lambda: one_account() + DRIFT,
    "capitals": lambda: one_account().replace('groups = ["*"]', 'groups = ["Fraud-*", "ChurnModel"]'),
    "first": first,
    "china": china,
}
# The sample for CI; `make test-outside-all` judges every one.
SAMPLE = ("default", "endpoints elsewhere", "network and keys")
