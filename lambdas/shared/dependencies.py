"""AWS clients and adapters, made once per cold start from environment variables."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, cast

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config as BotoConfig

from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.accounts import Accounts, RoutedParameters
from promotion.aws.ended_sessions import EndedSessions
from promotion.aws.keys import KmsSigner, Secrets
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.aws.recorder import Recorder
from promotion.config import loading as configuration
from promotion.config.loading import Config, duration
from promotion.errors import Invalid
from promotion.ledger.append import Context
from promotion.links.sessions import Sessions
from promotion.links.tokens import Keyring
from promotion.links.urls import Links

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters
    from promotion.aws.clients import CachedClients
    from promotion.aws.identity import IdentityProvider


class _Correlated(logging.Filter):
    """Add a version's correlation id to each log line about it; the id is the same from registration to production."""

    def filter(self, record: logging.LogRecord) -> bool:
        group, version = getattr(record, "model_package_group", None), getattr(record, "model_package_version", None)
        if group and version:
            record.correlation_id = f"{group}:{version}"
        return True


logger = Logger(service=names.SERVICE)
logger.addFilter(_Correlated())
_RETRIES = BotoConfig(retries={"mode": "standard", "total_max_attempts": 4})
# Parameter Store accepts 3 writes a second: adaptive retries slow down to that rate instead of failing.
_SLOWING_DOWN = BotoConfig(retries={"mode": "adaptive", "total_max_attempts": 8})


def prefix() -> str:
    return variables().prefix


def own_image() -> str:
    """Return the service's own image; empty if none is built or named, as on one machine."""
    return variables().inference_image


def inference_image() -> str:
    """Return the service's own image, which hashes artifacts and scores runs: a package's own image can't be trusted.

    Raises:
        Invalid: no image is built or named.
    """
    if not (image := own_image()):
        raise Invalid("advanced.inference.image", "no image of this service was built at the deployment; name one.")
    return image


def region() -> str:
    """AWS region of this function."""
    return variables().region


@cache
def _client(service: str) -> object:
    make: Callable[..., object] = boto3.client
    return make(service, config=_SLOWING_DOWN if service == "ssm" else _RETRIES)


client = cast("CachedClients", _client)


@cache
def config() -> Config:
    """Return the configuration in the bundle, beside the code."""
    return configuration.load(variables().code / variables().config)


@cache
def ledger() -> DynamoLedger:
    return DynamoLedger(client("dynamodb"), variables().ledger_table)


@cache
def recorder() -> Recorder:
    return Recorder(client("lambda"), variables().record_function)


@cache
def secrets() -> Secrets:
    return Secrets(client("secretsmanager"))


@cache
def signer() -> KmsSigner:
    return KmsSigner(client("kms"), variables().signing_key_arn)


@cache
def public_key() -> str:
    """Return the public signing key, PEM, from KMS. The key's ARN comes from the deployment, not from a parameter."""
    return signer().public_key_pem()


@cache
def cross_account(purpose: str) -> Accounts:
    """Return access to the environments' own accounts, by the role for a purpose there."""
    return Accounts(client("sts"), config().cross_account, prefix=prefix(), purpose=purpose)


@cache
def parameter_store(purpose: str) -> Parameters:
    """Return Parameter Store as `reader` or `writer`, including the environments' own accounts."""
    environments = tuple(config().cross_account)
    if not environments:
        return client("ssm")
    return RoutedParameters(client("ssm"), environments, cross_account(purpose).client)


def identity() -> IdentityProvider:
    return identity_provider(secrets().client_secret(variables().identity_secret_arn))


@cache
def identity_provider(client_secret: str) -> IdentityProvider:
    # The imports for a sign-in take as long as boto3's, so they are delayed until a sign-in.
    from promotion.aws.identity import IdentityProvider

    return IdentityProvider(config(), client_secret, f"{variables().public_url}/callback")


def keyring() -> Keyring:
    """Return the keyring that signs approval links."""
    return secrets().keyring(variables().link_keys_secret_arn)


def form_keys() -> Keyring:
    """Return the keyring that signs the tokens of forms."""
    return secrets().keyring(variables().form_keys_secret_arn)


def sign_in_keys() -> Keyring:
    """Return the keyring that signs the state of an unfinished sign-in."""
    return secrets().keyring(variables().sign_in_keys_secret_arn)


@cache
def sessions() -> Sessions:
    """Return the reader of sessions, which verifies them with the public session key."""
    pem = KmsSigner(client("kms"), variables().session_key_arn).public_key_pem()
    return Sessions(pem, longest=duration(config().identity.session_lifetime))


@cache
def session_maker() -> Sessions:
    """Return the maker of sessions, whose KMS key only the role of `sign_in` may sign with."""
    key = KmsSigner(client("kms"), variables().session_key_arn)
    return Sessions(key.public_key_pem(), key.sign, longest=duration(config().identity.session_lifetime))


@cache
def ended_sessions() -> EndedSessions | None:
    """Return the sessions that the identity provider has ended; None if back-channel logout is not configured."""
    if not config().identity.backchannel_logout:
        return None
    return EndedSessions(client("dynamodb"), variables().ended_sessions_table)


def links() -> Links:
    return Links(base_url=variables().public_url, keyring=keyring())


@cache
def installed_at() -> datetime:
    """Return when this service was first deployed: no approval is requested for versions registered before.

    It is the older date of the ledger's table and the stack's own key, so that a restored table doesn't change it. The signing
    key is not used for it: it may be one of yours (`[advanced.signing] key`) and older than this service.
    """
    table: datetime = client("dynamodb").describe_table(TableName=variables().ledger_table)["Table"]["CreationDateTime"]
    key: datetime = client("kms").describe_key(KeyId=variables().own_key_arn)["KeyMetadata"]["CreationDate"]
    return min(table, key)


def now() -> datetime:
    return datetime.now(UTC)


def count(metric: str, value: float, **dimensions: str) -> None:
    """Print a metric for an alarm as a log line in CloudWatch's embedded metric format."""
    # Imported here because most functions emit no metrics.
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    with single_metric(metric, MetricUnit.Count, value, namespace=names.METRICS_NAMESPACE) as line:
        # By installation, as the alarms ask: Powertools would add POWERTOOLS_SERVICE_NAME alone where it is set.
        for name, said in {**dimensions, "service": names.installation(prefix())}.items():
            line.add_dimension(name, said)


def reading_context() -> Context:
    """Return the context of readers; writers use `appending.signing`, which also signs."""
    return Context(ledger=ledger(), config=config(), now=now())
