"""Read a version from the registry at the moment when its request is opened or decided."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.dependencies import client, config, ledger, logger
from promotion.aws.s3.artifacts import Denied, read_json
from promotion.aws.sagemaker.registry import describe, is_gone
from promotion.domain.metrics import evidence_of
from promotion.domain.model import VersionState
from promotion.domain.package_changes import RegistryView, metric_changes
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid


def look(asked: str) -> RegistryView | None:
    """Read a request's version from the registry; None for a version that is not in the ledger.

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
    return RegistryView(package=package, metrics=_metrics(state))


def _metrics(state: VersionState) -> dict[str, tuple[str, str]]:
    """Return the values that the document of the registered metrics has changed since; its SHA-256 shows a change."""
    request = state.requests.get(config().environment_names[0])
    known = request.evidence if request else None
    if known is None or known.source != "registration" or not known.metrics_sha256:
        return {}
    document = {"metrics document": (known.metrics_uri, "it can't be read any more")}
    try:
        found, digest = read_json(client("s3"), known.metrics_uri, "metrics")
        if digest == known.metrics_sha256:
            return {}
        changed = metric_changes(known.metrics, evidence_of(found, source="registration").metrics)
        document = {"metrics document": (f"SHA-256 {known.metrics_sha256[:12]}", f"SHA-256 {digest[:12]}")}
        return changed or document
    except Denied:
        logger.warning("registered metrics not read again", extra={"model_package_arn": state.package.arn})
        return {}
    except Invalid:
        return document


def glance(asked: str) -> RegistryView | None:
    """Read the version for a page; None if the registry can't be read, because a decision reads it again."""
    try:
        return look(asked)
    except (BotoCoreError, ClientError):
        logger.exception("registry not read", extra={"request_id": asked})
        return None
