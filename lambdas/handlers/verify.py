"""Once a day: is all as the ledger says, and the ledger as it was? What is whole is anchored; what differs raises an alarm."""

from __future__ import annotations

from functools import cache
from typing import Any

from lambdas.shared.dependencies import (
    client,
    config,
    count,
    ledger,
    logger,
    now,
    parameter_store,
    prefix,
    setting,
    signer,
)
from promotion import names
from promotion.aws.anchors import AnchorBucket
from promotion.aws.checking import Installation, check
from promotion.aws.cursors import DynamoCursors
from promotion.aws.keys import held_by
from promotion.aws.parameters import ParameterTarget
from promotion.aws.registry import RegistryTarget
from promotion.client.signature import holds, public_keys
from promotion.ledger.verify import Found, Verifier


def handler(event: dict[str, object], context: object) -> dict[str, Any]:
    found, anchored, groups, failed = 0, 0, 0, 0
    parameters = 0

    def seen(number: int) -> None:
        nonlocal parameters
        parameters = number

    for group, differences in check(installation(), seen=seen):
        groups += bool(group)
        found += len(differences)
        for difference in differences:
            logger.error("differs", extra={"model_package_group": group, "difference": difference.difference.line})
        if group and not any(_is_ledgers(each) for each in differences):
            try:
                anchored += _anchor(group)
            except Exception:  # noqa: BLE001 - logged and counted; the others are gone on with
                # The other groups are anchored all the same; the alarm of differences tells of this one.
                logger.exception("not anchored", extra={"model_package_group": group})
                failed += 1
    count(names.DIFFERENCES_METRIC, found + failed)
    count(names.PARAMETERS_METRIC, parameters)
    logger.info(
        "verified", extra={"groups": groups, "differences": found, "anchored": anchored, "parameters": parameters}
    )
    return {"groups": groups, "differences": found, "anchored": anchored}


def _is_ledgers(found: Found) -> bool:
    return found.difference.what in ("ledger", "unverified")


def _anchor(group: str) -> int:
    """Anchor a head that is whole and has moved since it was anchored last."""
    head, known = ledger().head(group), anchors().known(group).get(group, [])
    if head.sequence == 0 or (known and known[-1].sequence >= head.sequence):
        return 0
    logger.info("anchored", extra={"model_package_group": group, "anchor": anchors().keep(head, now())})
    return 1


@cache
def anchors() -> AnchorBucket:
    return AnchorBucket(client("s3"), setting(names.ANCHOR_BUCKET))


def installation() -> Installation:
    keys = public_keys(signer().public_key_pem())
    return Installation(
        verifier=Verifier(
            ledger=ledger(),
            packages=RegistryTarget(lambda identity: client("sagemaker"), config().environment_names),
            store=ParameterTarget(parameter_store("reader"), signer(), prefix()),
            holds=lambda message, signature: holds(keys, message, signature),
            prefix=prefix(),
            key_id=signer().key_id,
            held=held_by(config().signing.former),
            former=frozenset(former.key_id for former in config().signing.former),
        ),
        ledger=ledger(),
        table=setting(names.LEDGER_TABLE),
        ssm=parameter_store("reader"),
        anchors=anchors(),
        cursors=DynamoCursors(client("dynamodb"), setting(names.PROJECTIONS_TABLE)),
    )
