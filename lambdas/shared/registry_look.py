"""What the registry says of a version just now, for those who look at its request or decide on it."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.dependencies import client, config, ledger, logger
from promotion.aws.registry import describe, is_gone
from promotion.domain.package_changes import RegistryView
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid


def look(asked: str) -> RegistryView | None:
    """Return what the registry says of the version that a request is about; None for a version that the ledger doesn't know.

    Raises:
        ClientError: the registry can't be read.
    """
    group, number, _, _ = parse_request_id(asked)
    state = ledger().version(group, number)
    if state is None:
        return None
    try:
        package, _ = describe(client("sagemaker"), state.package.arn, config().identity.requesters)
    except Invalid:
        return RegistryView(package=None)
    except ClientError as error:
        if is_gone(error):
            return RegistryView(package=None)
        raise
    return RegistryView(package=package)


def glance(asked: str) -> RegistryView | None:
    """The same for a page, which is shown without it where the registry can't be read: a decision looks again."""
    try:
        return look(asked)
    except (BotoCoreError, ClientError):
        logger.exception("registry not read", extra={"request_id": asked})
        return None
