"""`promotion verify`, `rebuild` and `redrive`: compare projections with the ledger, and repair differences."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.keys import KmsSigner, held_by
from promotion.aws.ledger_table.anchors import AnchorBucket
from promotion.aws.ledger_table.checking import Installation, check
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.ledger_table.differences import SERVICE, DynamoDifferences
from promotion.aws.parameter_store.parameters import ParameterTarget
from promotion.aws.s3.attestations import EvidenceBucket
from promotion.aws.sagemaker.registry import RegistryTarget
from promotion.cli.progress import Progress
from promotion.cli.service import client, config, installation, ledger, parameters, prefix
from promotion.client.resolve import find_public_key
from promotion.client.signature import holds, public_keys
from promotion.errors import UNREADABLE, Conflict, Invalid
from promotion.formatting import counted, one_line
from promotion.ledger.verify import Mismatch, Verifier

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef

REBUILT_WITHIN_S = 900.0
# Targets that `rebuild` projects again from the first event; existing attestations stay unchanged.
REBUILT: tuple[names.TargetName, ...] = (names.REGISTRY, names.PARAMETERS, names.ATTESTATIONS)
POLL_S = 0.5
# AWS asks for 30 seconds before the name of a deleted parameter is used again.
RESTS_S = 31


def verify(group: str | None, *, repair: bool, as_json: bool) -> int:
    """Print each difference in one line; with `repair`, repair the projections, never the ledger."""
    service = _installation()
    found = _check(service, group)
    repaired: list[Mismatch] = []
    if repair:
        repaired = [each for _, each in found if _repaired(each)]
        wake({name for name, each in found if each.difference.what == "projection"})
        found = _check(service, group)
        _keep_open(group, found)
    if as_json:
        lines = [
            {"model_package_group": name, **msgspec.to_builtins(each.difference), "repairable": each.repair is not None}
            for name, each in found
        ]
        print(json.dumps({"differences": lines, "repaired": len(repaired)}, indent=2))
        return 1 if found else 0
    for each in repaired:
        print(f"repaired {each.difference.line}")
    for _, each in found:
        print(each.difference.line)
    if not found:
        print(f"{group or 'Everything'} is as the ledger says.")
    return 1 if found else 0


def _keep_open(group: str | None, found: Iterable[tuple[str, Mismatch]]) -> None:
    """Store the differences left after a repair, as the daily verification does, so that the board shows them."""
    lines: dict[str, list[str]] = {group: []} if group else {}
    for name, each in found:
        lines.setdefault(name or SERVICE, []).append(each.difference.line)
    kept = DynamoDifferences(client("dynamodb"), installation()["projections_table"])
    try:
        before = kept.open()
        for name in lines if group else {*before, *lines}:
            kept.keep(name, lines.get(name, []), datetime.now(UTC), before)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        # The next daily verification stores the difference instead.


def _repaired(each: Mismatch) -> bool:
    """Repair a difference; return False if it has no repair or AWS denies it."""
    if each.repair is None:
        return False
    try:
        try:
            each.repair()
        except Conflict:
            # The projector changed the archive of the same group at the same time.
            each.repair()
        except ClientError as error:
            if error.response["Error"]["Code"] != "InternalServerError":
                raise
            where = one_line(each.difference.where)
            print(
                f"promotion: AWS fails to write {where}, as it does for 30 s after a deletion. It is tried again in {RESTS_S} s.",
                file=sys.stderr,
            )
            time.sleep(RESTS_S)
            each.repair()
    except ClientError as error:
        # In another account, an operator may only read; only the projector writes there.
        if error.response["Error"]["Code"] not in ("AccessDenied", "AccessDeniedException"):
            raise
        print(
            f"promotion: {one_line(each.difference.where)} is the projector's to write: promotion rebuild.",
            file=sys.stderr,
        )
        return False
    except UNREADABLE as error:
        # This difference stays; the others are still repaired.
        print(f"promotion: {one_line(each.difference.where)} is not repaired: {one_line(str(error))}", file=sys.stderr)
        return False
    return True


def _has_events(group: str) -> bool:
    """Return True if the ledger has events of a group, also if its head can't be read."""
    try:
        return bool(ledger().head(group).sequence)
    except UNREADABLE:
        return True


def _check(service: Installation, group: str | None) -> list[tuple[str, Mismatch]]:
    if group is not None and not _has_events(group) and group not in _anchored(service, group):
        raise Invalid("GROUP", f"this service knows no model package group {group}.")
    found: list[tuple[str, Mismatch]] = []
    with Progress("verify") as progress:
        progress.at("reading parameters")
        for name, differences in check(
            service,
            group,
            pause=time.sleep,
            begins=lambda name, number, of: progress.at(f"{number:,} of {of:,}, {name}"),
        ):
            found += [(name, each) for each in differences]
    return sorted(found, key=lambda each: (not each[0], each[0]))


def _anchored(service: Installation, group: str) -> dict[str, object]:
    return dict(service.anchors.known(group)) if service.anchors else {}


def rebuild(group: str | None) -> int:
    """Make the projector rewrite the registry and Parameter Store, and write missing attestations; no mail is sent."""
    cursors = _cursors()
    groups = [group] if group else ledger().groups()
    heads = {name: ledger().head(name).sequence for name in groups}
    for name, head in heads.items():
        if not head:
            raise Invalid("GROUP", f"this service knows no model package group {name}.")
        at = cursors.read(name)
        for target in REBUILT:
            cursors.reset(name, target)
        said_once: tuple[names.TargetName, ...] = (names.EVENTS, names.MAIL)
        for target in said_once:
            # A cursor after the head: an older copy of the ledger was restored, and the next events must not be
            # skipped.
            if at.get(target, 0) > head:
                cursors.put(name, target, head)
    wake(groups)
    deadline = time.monotonic() + REBUILT_WITHIN_S
    waiting = dict(heads)
    while waiting and time.monotonic() < deadline:
        rebuilt = _take_rebuilt(waiting, len(heads))
        for name in rebuilt:
            print(f"{name}: rebuilt to event {heads[name]}")
        if waiting:
            time.sleep(POLL_S)
    for name in waiting:
        print(f"{name}: not rebuilt within {REBUILT_WITHIN_S:.0f} s; see the dead-letter queue", file=sys.stderr)
    return 1 if waiting else 0


def _take_rebuilt(waiting: dict[str, int], of: int) -> list[str]:
    """Remove the groups whose targets have reached their heads from `waiting`, and return them."""
    cursors, rebuilt = _cursors(), []
    with Progress("rebuild") as progress:
        for name, head in list(waiting.items()):
            progress.at(f"{of - len(waiting):,} of {of:,} rebuilt")
            at = cursors.read(name)
            if all(at.get(target, 0) >= head for target in REBUILT):
                del waiting[name]
                rebuilt.append(name)
    return rebuilt


def refold(group: str | None) -> int:
    """Call the function that writes the ledger, so that it folds the states of groups again."""
    from promotion.cli.operating import operate

    for name in [group] if group else ledger().groups():
        operate("refold", {"group": name}, as_json=False)
    return 0


def redrive() -> int:
    """Retry the dead-letter queue's groups, and the undelivered events of rules and functions."""
    known = installation()
    groups: set[str] = set()

    def project(failed: dict[str, object], attributes: Mapping[str, MessageAttributeValueOutputTypeDef]) -> bool:
        group = failed.get("group")
        if not isinstance(group, str) or not (names.GROUP_PATTERN.fullmatch(group) or group == names.DIGEST):
            return False
        groups.add(group)
        said = f"{group}: {failed.get('target', 'projection')} again from event {failed.get('sequence', 0)}"
        print(one_line(said))
        return True

    left = _take(known["dead_letter_queue_url"], project)
    undelivered = known.get("undelivered_queue_url")
    left += _take(undelivered, _deliver) if undelivered else 0
    # All groups with a cursor behind the head, also those whose wake-up message was lost.
    cursors = _cursors()
    for group in ledger().groups():
        at, head = cursors.read(group), ledger().head(group).sequence
        if any(at.get(target, 0) < head for target in names.TARGETS):
            groups.add(group)
    wake(groups)
    print(f"{len(groups)} groups woken")
    return 1 if left else 0


def wake(groups: Iterable[str], *, later: bool = False) -> None:
    """Make the projector process groups; with `later`, also their delayed mail."""
    for group in sorted(groups):
        client("sqs").send_message(
            QueueUrl=installation()["wake_queue_url"],
            MessageBody=json.dumps({"group": group, "sequence": 0, **({"later": True} if later else {})}),
            MessageGroupId=group,
            MessageDeduplicationId=uuid.uuid4().hex,
        )


def _take(
    queue_url: str, act: Callable[[dict[str, object], Mapping[str, MessageAttributeValueOutputTypeDef]], bool]
) -> int:
    """Process the messages of a queue and delete them; those that `act` doesn't handle stay there, and are counted."""
    sqs = client("sqs")
    left: set[str] = set()
    while True:
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=60
        )
        messages = answer.get("Messages", [])
        if not messages:
            return len(left)
        for message in messages:
            try:
                document = json.loads(message["Body"])
            except (ValueError, RecursionError):
                document = None
            if isinstance(document, dict) and act(document, message.get("MessageAttributes") or {}):
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            elif message["MessageId"] in left:
                # This message was received before, so all others were received, too.
                return len(left)
            else:
                left.add(message["MessageId"])
                print(f"promotion: left in the queue, not known: {one_line(message['Body'])}", file=sys.stderr)


def _deliver(document: Mapping[str, object], attributes: Mapping[str, MessageAttributeValueOutputTypeDef]) -> bool:
    """Start the function that a rule, or Lambda itself, could not start or finish.

    A failed asynchronous call: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    A rule's event has its target's ARN in the message's attributes.
    """
    context = document.get("requestContext")
    if "requestPayload" in document:
        function, payload = (
            context.get("functionArn") if isinstance(context, dict) else None,
            document["requestPayload"],
        )
    elif "TARGET_ARN" in attributes:
        function, payload = attributes["TARGET_ARN"].get("StringValue"), document
    elif isinstance(document.get("detail"), dict):
        return _register(document)
    elif isinstance(group := document.get("group"), str) and "later" in document:
        wake([group], later=True)
        return True
    elif isinstance(groups := document.get("groups"), list):
        print(f"{counted(len(groups), 'group')}: the next verification looks at them; now: promotion verify")
        return True
    else:
        # A failed batch of the ledger's stream can be deleted, because the cursors show which groups it was about.
        # Others stay.
        return "DDBStreamBatchInfo" in document
    if isinstance(function, str) and ":sqs:" in function and function == _queue_arn("registrations_queue_url"):
        return _register(document)
    if not isinstance(function, str) or ":function:" not in function:
        return False
    # The ARN of a failed call ends with the function's version, which is removed.
    function = ":".join(function.split(":")[:7])
    client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(payload).encode())
    print(f"{function.rpartition(':')[2]}: again")
    return True


def _register(event: Mapping[str, object]) -> bool:
    """Put an event back on the queue of registrations."""
    client("sqs").send_message(QueueUrl=installation()["registrations_queue_url"], MessageBody=json.dumps(event))
    detail = event["detail"]
    about = detail.get("ModelPackageArn") if isinstance(detail, Mapping) else None
    print(one_line(f"{about or 'a job that hashes'}: registered again"))
    return True


def _queue_arn(key: str) -> str | None:
    """Return the ARN of a queue of the installation; None if it has no such queue."""
    if (url := installation().get(key)) is None:
        return None
    found = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(found["Attributes"]["QueueArn"])


def _cursors() -> DynamoCursors:
    return DynamoCursors(client("dynamodb"), installation()["projections_table"])


def _installation() -> Installation:
    known = installation()
    signer = KmsSigner(client("kms"), known["signing_key_arn"])
    try:
        keys = public_keys(find_public_key())
    except Invalid as error:
        # Less secure, and reported: a principal that may write the service's parameter could have put its own key
        # there.
        print(f"promotion: {error.reason} Verifying with KMS's {signer.key_id} instead.", file=sys.stderr)
        keys = public_keys(signer.public_key_pem())
    bucket = known.get("anchor_bucket")
    evidence = EvidenceBucket(client("s3"), known.get("evidence_bucket", ""))
    return Installation(
        verifier=Verifier(
            ledger=ledger(),
            packages=RegistryTarget(lambda identity: client("sagemaker"), config().environment_names),
            store=ParameterTarget(
                parameters(),
                signer,
                prefix(),
                ledger=ledger(),
                bucket=evidence,
                keep_versions=config().history.keep_versions,
            ),
            holds=lambda message, signature: holds(keys, message, signature),
            prefix=prefix(),
            key_id=signer.key_id,
            held=held_by(config().signing.former),
            former=frozenset(former.key_id for former in config().signing.former),
            kept_runs=evidence.folded_runs,
            archived=evidence.text,
        ),
        ledger=ledger(),
        table=known["ledger_table"],
        ssm=parameters(),
        anchors=AnchorBucket(client("s3"), bucket) if bucket else None,
        cursors=_cursors(),
    )
