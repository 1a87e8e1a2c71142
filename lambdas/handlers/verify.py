"""Verify all groups once a day: anchor the intact ones, raise an alarm on differences.

Groups are verified in pages: the pages of a large installation go through a queue, to several concurrent calls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any, Protocol

from lambdas.shared.dependencies import (
    client,
    config,
    count,
    ledger,
    logger,
    now,
    parameter_store,
    prefix,
    signer,
)
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.keys import held_by
from promotion.aws.ledger_table.anchors import AnchorBucket
from promotion.aws.ledger_table.checking import Installation, check_groups, differences_of_no_group, known_groups
from promotion.aws.ledger_table.checkpoints import CheckpointBuckets
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.ledger_table.differences import DynamoDifferences
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.parameter_store.stored_parameters import read_below
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.client.signature import holds, public_keys
from promotion.ledger.events import OpenDifferences
from promotion.ledger.verify import Mismatch, Verifier

# The number of groups that one call verifies. More groups go through the queue, one page per message.
PAGE = 50
# A call with less time left puts its remaining groups back on the queue. A group takes seconds.
LEAST_LEFT_MS = 180_000
# A group with differences is read again as a whole, after a pause of at most 20 s.
LEAST_FOR_A_LOOK_MS = 60_000


class Lambda(Protocol):
    """The context that Lambda passes to a call."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until the call times out."""


def handler(event: dict[str, Any], context: Lambda | None) -> dict[str, Any]:
    """Start a verification, on the schedule; or verify the groups in the queue's messages."""
    if "Records" in event:
        pages = [json.loads(record["body"])["groups"] for record in event["Records"]]
        return _verify([group for page in pages for group in page], context, Marks(), found=0)
    here = installation()
    parameters = dict(read_below(here.ssm, here.verifier.prefix))
    groups = known_groups(here)
    count(names.PARAMETERS_METRIC, len(parameters))
    logger.info("verification begins", extra={"groups": len(groups), "parameters": len(parameters)})
    marks = Marks()
    found = _log_differences("", differences_of_no_group(here, groups, parameters), marks)
    if len(groups) <= PAGE:
        return _verify(groups, context, marks, found=found)
    for start in range(0, len(groups), PAGE):
        _queue(groups[start : start + PAGE])
    count(names.DIFFERENCES_METRIC, found)
    return {"groups": 0, "differences": found, "anchored": 0, "queued": len(groups)}


def _verify(groups: list[str], context: Lambda | None, marks: Marks, *, found: int) -> dict[str, object]:
    """Verify groups and anchor those with an intact chain; count the differences, including `found`."""
    here, anchored, verified, failed = installation(), 0, 0, 0
    left = _while_time_is_left(groups, context)
    for group, differences in check_groups(here, left, pause=time.sleep, passed_on=partial(_passed_on, context)):
        verified += 1
        found += _log_differences(group, differences, marks)
        if not any(_is_ledgers(each) for each in differences):
            try:
                anchored += _anchor(group)
            except Exception:  # noqa: BLE001 - logged and counted; the others are gone on with
                # The other groups are still anchored; this one counts for the alarm on differences.
                logger.exception("not anchored", extra={"model_package_group": group})
                failed += 1
    count(names.DIFFERENCES_METRIC, found + failed)
    logger.info("verified", extra={"groups": verified, "differences": found, "anchored": anchored})
    return {"groups": verified, "differences": found, "anchored": anchored, "queued": len(groups) - verified}


def _while_time_is_left(groups: list[str], context: Lambda | None) -> Iterator[str]:
    """Yield groups until the call's time is nearly over, then put the rest on the queue."""
    for done, group in enumerate(groups):
        if done and context is not None and context.get_remaining_time_in_millis() < LEAST_LEFT_MS:
            _queue(groups[done:])
            return
        yield group


def _passed_on(context: Lambda | None, groups: Sequence[str]) -> bool:
    """Put groups that still differ back on the queue if too little time is left; return True if so."""
    if context is None or context.get_remaining_time_in_millis() >= LEAST_FOR_A_LOOK_MS:
        return False
    _queue(list(groups))
    return True


def _queue(groups: list[str]) -> None:
    client("sqs").send_message(QueueUrl=variables().verify_queue_url, MessageBody=json.dumps({"groups": groups}))


def _log_differences(group: str, differences: list[Mismatch], marks: Marks) -> int:
    marks.keep(group, [each.difference.line for each in differences])
    for each in differences:
        logger.error("differs", extra={"model_package_group": group, "difference": each.difference.line})
    return len(differences)


class Marks:
    """The findings of a verification, kept for the board; a failure here is logged and stops nothing else."""

    def __init__(self) -> None:
        self._kept = DynamoDifferences(client("dynamodb"), variables().projections_table)
        self._before: dict[str, OpenDifferences] | None = None
        try:
            self._before = self._kept.open()
        except Exception:  # noqa: BLE001 - logged; nothing is marked this time
            logger.exception("differences can't be read")

    def keep(self, group: str, lines: Sequence[str]) -> None:
        if self._before is None:
            return
        try:
            self._kept.keep(group, lines, now(), self._before)
        except Exception:  # noqa: BLE001 - logged; the next verification writes it
            logger.exception("differences not kept", extra={"model_package_group": group})


def _is_ledgers(found: Mismatch) -> bool:
    return found.difference.what in ("ledger", "unverified")


def _anchor(group: str) -> int:
    """Anchor the head of an intact chain if it has moved since the last anchor."""
    head, known = ledger().head(group), anchors().known(group).get(group, [])
    if head.sequence == 0 or (known and known[-1].sequence >= head.sequence):
        return 0
    logger.info("anchored", extra={"model_package_group": group, "anchor": anchors().keep(head, now())})
    return 1


@cache
def anchors() -> AnchorBucket:
    return AnchorBucket(client("s3"), variables().anchor_bucket)


def installation() -> Installation:
    keys = public_keys(signer().public_key_pem())
    evidence = EvidenceBucket(client("s3"), variables().evidence_bucket)
    return Installation(
        verifier=Verifier(
            ledger=ledger(),
            packages=RegistryTarget(lambda identity: client("sagemaker"), config().environment_names),
            store=ParameterTarget(
                parameter_store("reader"),
                signer(),
                prefix(),
                ledger=ledger(),
                bucket=evidence,
                keep_versions=config().history.keep_versions,
            ),
            holds=lambda message, signature: holds(keys, message, signature),
            prefix=prefix(),
            key_id=signer().key_id,
            held=held_by(config().signing.former),
            former=frozenset(former.key_id for former in config().signing.former),
            kept_runs=evidence.folded_runs,
            archived=evidence.text,
        ),
        ledger=ledger(),
        table=variables().ledger_table,
        ssm=parameter_store("reader"),
        anchors=anchors(),
        cursors=DynamoCursors(client("dynamodb"), variables().projections_table),
        checkpoints=CheckpointBuckets(client("s3"), variables().evidence_bucket, variables().anchor_bucket),
        now=now,
    )
