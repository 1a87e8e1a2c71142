"""A group has events that are not projected yet: project them to each target, from the registry to the attestations."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import structs

from lambdas.shared.dependencies import (
    client,
    config,
    ledger,
    links,
    logger,
    now,
    parameter_store,
    prefix,
    signer,
)
from lambdas.shared.queues import retry_after
from lambdas.shared.variables import variables
from promotion import names
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.messages.channel_messages import ChannelMessages
from promotion.aws.messages.held_mail import HeldMail
from promotion.aws.messages.mailer import MailTarget
from promotion.aws.messages.publisher import EventsTarget
from promotion.aws.messages.refused_mail import RefusedMails
from promotion.aws.messages.settling_mail import SettlingMail
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.s3.attestations import AttestationTarget, EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.ledger.events import Event, RefusedMail
from promotion.ledger.snapshot import GroupSnapshot
from promotion.workflows.projector import Failure, Target, project

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

# Receives after which a failing target is set aside; infra/ gives the queue a higher limit of its own, as a backstop.
TRIES = 4
# The waits before each retry. The queue's visibility timeout of minutes, meant for a crashed function, would delay the group's
# next events. Together they exceed the 30 seconds before a deleted parameter's name may be created again.
WAITS_S = (2, 6, 25)
SESSION_LIFETIME_S = 900


def handler(event: dict[str, Any], context: object) -> dict[str, object]:
    """Report the messages of groups with a failed target, so that they are delivered again."""
    left: list[dict[str, str]] = []
    for record in event["Records"]:
        woken = json.loads(record["body"])
        failures = (
            send_digest() if woken["group"] == names.DIGEST else project_group(woken["group"], later="later" in woken)
        )
        for failure in failures:
            logger.error("target left behind", extra=structs.asdict(failure))
        tries = int(record["attributes"]["ApproximateReceiveCount"])
        if failures and tries < TRIES:
            left.append({"itemIdentifier": record["messageId"]})
            retry_after(variables().wake_queue_url, record["receiptHandle"], WAITS_S[tries - 1])
        else:
            set_aside(failures, record["messageId"])
    return {"batchItemFailures": left}


def project_group(group: str, *, later: bool) -> list[Failure]:
    """Project a group's events, and send its delayed mail that is due; `later` marks a wake for that mail only."""
    told = {name: LoggedTarget(name, target) for name, target in targets().items()}
    failures, cursors = project(group, ledger=ledger(), cursors=cursors_table(), targets=told)
    logger.info("projected", extra={"model_package_group": group, "cursors": cursors})
    return [*failures, *_mailed(group, lambda: mail().release(group, again=later))]


def send_digest() -> list[Failure]:
    """Send the digest mails of all groups."""
    return _mailed(names.DIGEST, mail().send_digest)


def _mailed(group: str, send: Callable[[], None]) -> list[Failure]:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - reported as any target that is left behind
        return [Failure(group=group, target=names.MAIL, sequence=0, error=f"{type(error).__name__}: {error}")]
    return []


class LoggedTarget:
    """A target that logs a line for each event that is projected to it."""

    def __init__(self, name: str, target: Target) -> None:
        self._name, self._target, self.one_by_one = name, target, target.one_by_one

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        self._target.project(view, events)
        for event in events:
            logger.info(
                "event projected",
                extra={
                    "target": self._name,
                    "kind": event.kind,
                    "sequence": event.sequence,
                    "model_package_group": event.group,
                    "model_package_version": event.version,
                    "environment": event.environment,
                },
            )


def set_aside(failures: list[Failure], message: str) -> None:
    """Put failed targets on the dead-letter queue by name, so that the group's next events aren't held up behind them.

    Deduplicated by failed message and target: by target alone, a new failure right after a redrive would be dropped as a
    duplicate.
    """
    for failure in failures:
        alarm(failure)
        client("sqs").send_message(
            QueueUrl=variables().dead_letter_queue_url,
            MessageBody=json.dumps(structs.asdict(failure)),
            MessageGroupId=f"{failure.group}-{failure.target}"[:128],
            MessageDeduplicationId=f"{message}-{failure.target}"[:128],
        )


def alarm(failure: Failure) -> None:
    """Send the group and the target to the alarm topic: a queue's alarm can only count."""
    notify_operators(
        f"{failure.group} {failure.target} set aside",
        f"{failure.target} of {failure.group} could not be brought past event {failure.sequence}, {TRIES} times.\n\n"
        f"{failure.error}\n\nThe group's other targets and all other groups go on. Mend the cause, then run "
        "`promotion redrive`: docs/operations.md, DeadLetters.",
    )


def notify_operators(subject: str, text: str) -> None:
    """Publish to the alarm topic. The text is recorded elsewhere too, so a failure of the topic is only logged."""
    try:
        client("sns").publish(
            TopicArn=variables().alarm_topic_arn, Subject=f"{names.SERVICE}: {subject}"[:99], Message=text
        )
    except (BotoCoreError, ClientError):
        logger.exception("nobody was told", extra={"subject": subject})


@cache
def cursors_table() -> DynamoCursors:
    return DynamoCursors(client("dynamodb"), variables().projections_table)


def targets() -> dict[names.TargetName, Target]:
    """Return the targets, in the order in which a revocation has to reach them."""
    order = config().environment_names
    evidence = EvidenceBucket(client("s3"), variables().evidence_bucket)
    return {
        names.REGISTRY: RegistryTarget(registry_client, order),
        names.PARAMETERS: ParameterTarget(
            parameter_store("writer"),
            signer(),
            prefix(),
            ledger=ledger(),
            bucket=evidence,
            keep_versions=config().history.keep_versions,
        ),
        names.EVENTS: EventsTarget(client("events"), variables().event_bus_name),
        names.MAIL: mail(),
        names.ATTESTATIONS: AttestationTarget(evidence, signer(), ledger().events),
    }


def mail() -> SettlingMail:
    """Return the mail target, which also has the delayed mail."""
    sent_by = MailTarget(
        client("sesv2"),
        client("s3"),
        config(),
        links(),
        variables().configuration_set,
        refused=record_refused,
        accepted=forget_refused,
    )
    held = HeldMail(client("dynamodb"), variables().projections_table, client("sqs"), variables().later_queue_url)
    channels = config().channels
    tell = ChannelMessages(client("events"), variables().event_bus_name, channels).announce if channels else None
    return SettlingMail(sent_by, held, ledger(), config(), links(), config().mail.settles, now, tell)


def record_refused(refused: RefusedMail) -> None:
    """Log an address that SES permanently refuses, and store it for pages and `status`; notify operators the first time."""
    logger.error("mail refused for good", extra=structs.asdict(refused))
    try:
        if not refused_mails().put(refused):
            return
    except (BotoCoreError, ClientError):
        # If this were raised, the event's mail would be sent again to all other recipients.
        logger.exception("refused mail not remembered")
    notify_operators(
        f"{refused.group} mail refused for good",
        f"SES refuses mail to {refused.address} for good: {refused.reason}\n\nThey are told nothing about "
        f"{refused.group}; all others are. Correct the address, then deploy: docs/operations.md, Mail that SES refuses.",
    )


def forget_refused(group: str, accepted: Collection[str]) -> None:
    """Delete refusals of addresses to which SES has just accepted mail; a failure is only logged, because the mail is sent."""
    try:
        refused_mails().remove(group, accepted)
    except (BotoCoreError, ClientError):
        logger.exception("refused mail not forgotten")


def refused_mails() -> RefusedMails:
    return RefusedMails(client("dynamodb"), variables().projections_table)


@cache
def sessions() -> dict[str, tuple[float, SageMakerClient]]:
    """Return the cache of registry-role clients by source identity, each with the time until which it is used."""
    return {}


def registry_client(identity: str) -> SageMakerClient:
    """Return a SageMaker client under the registry role, with the deciding person as source identity for CloudTrail."""
    kept = sessions().get(identity)
    if kept and time.monotonic() < kept[0]:
        return kept[1]
    credentials = client("sts").assume_role(
        RoleArn=variables().registry_role_arn,
        RoleSessionName=names.SERVICE,
        SourceIdentity=identity,
        DurationSeconds=SESSION_LIFETIME_S,
    )["Credentials"]
    made = boto3.client(
        "sagemaker",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    sessions()[identity] = (time.monotonic() + SESSION_LIFETIME_S / 2, made)
    return made
