"""Doctor checks of a deployed stack: tables, queues, alarms, configuration drift."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import requests

from promotion import names
from promotion.aws.doctor.findings import Account, Finding, fail, not_checked, ok, warn
from promotion.aws.keys import KmsSigner
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.client.signature import public_keys
from promotion.errors import Invalid
from promotion.formatting import counted, listed
from promotion.rendering.mails.layout import Message, mime

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

TIMEOUT_S = 15.0
# More messages than wait in a busy hour.
MANY_WAITING = 50


def policy(account: Account) -> Iterator[Finding]:
    """Check that the functions run on the policy of this promotion.toml, by the digest that the stack wrote."""
    here, there = account.settings.policy_digest(), account.deployed.get("policy_digest")
    if there is None:
        yield not_checked("policy", "this deployment doesn't say which it has.", "Deploy again.")
    elif there != here:
        do = "Deploy, or look with the file and the release that were deployed (--config)."
        yield warn("policy", f"deployed is {str(there)[:12]}, this file's is {here[:12]}.", do)
    else:
        yield ok("policy", f"deployed as in this file, {here[:12]}.")


def pages(account: Account) -> Iterator[Finding]:
    """Check that the pages answer, and redirect to the identity provider with a registered address."""
    url = account.deployed["api_url"]
    try:
        health = requests.get(f"{url}/healthz", timeout=TIMEOUT_S)
        login = requests.get(f"{url}/login", timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        yield fail(
            "pages",
            f"{url} can't be reached: {type(error).__name__}.",
            "A new domain needs its CNAME: output DomainTarget.",
        )
        return
    if health.status_code != 200:
        yield fail(
            "pages", f"{url}/healthz answered {health.status_code}.", "Read the log of `web`: docs/operations.md."
        )
        return
    yield ok("pages", f"{url} answers.")
    target = login.headers.get("location", "")
    if login.status_code != 302:
        yield fail(
            "sign-in",
            f"{url}/login answered {login.status_code}.",
            "Read the log of `sign_in`: can it reach the provider?",
        )
        return
    # A pushed authorization request has no redirect URI in its address.
    back = parse_qs(urlsplit(target).query).get("redirect_uri", [f"{url}/callback"])[0]
    try:
        answer = requests.get(target, timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        yield not_checked("sign-in", f"the provider can't be reached from here: {type(error).__name__}.")
        return
    if answer.status_code >= 400:
        do = f"Enter {back} as the redirect URI there, and look at [identity] client_id and [advanced.identity] scopes."
        yield fail("sign-in", f"the provider answered {answer.status_code} to a sign-in.", do)
    else:
        yield ok("sign-in", f"the provider takes {back}.")


def client_secret(account: Account) -> Iterator[Finding]:
    """Check that the provider's secret replaced the stack's random value; the value is not read."""
    arn = account.deployed.get("identity_secret_arn")
    if arn is None:
        yield not_checked("client secret", "this deployment doesn't say where it is.", "Deploy again.")
        return
    versions = account.client("secretsmanager").describe_secret(SecretId=arn).get("VersionIdsToStages", {})
    if len(versions) > 1 or not versions:
        yield ok("client secret", "it was put in.")
    else:
        do = f"""aws secretsmanager put-secret-value --secret-id {arn} --secret-string '{{"client_secret": "…"}}'"""
        yield fail("client secret", "nobody has put it in yet, so nobody can sign in.", do)


def tables(account: Account) -> Iterator[Finding]:
    dynamodb = account.client("dynamodb")
    for key, what in (("ledger_table", "ledger"), ("projections_table", "projections")):
        name = account.deployed[key]
        table = dynamodb.describe_table(TableName=name)["Table"]
        kept = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = kept.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
        if table["TableStatus"] != "ACTIVE":
            yield fail(what, f"{name} is {table['TableStatus']}.", "Wait, or look at DynamoDB.")
        elif what == "ledger" and not table.get("StreamSpecification", {}).get("StreamEnabled"):
            yield fail(what, f"{name} has no stream, so nothing follows from decisions.", "Deploy again.")
        elif recovery != "ENABLED":
            yield warn(what, f"{name} has no point-in-time recovery.", "Deploy again: it was switched off by hand.")
        elif what == "ledger" and not table.get("DeletionProtectionEnabled"):
            yield warn(what, f"{name} may be deleted.", "Deploy again: its protection was switched off by hand.")
        else:
            yield ok(what, f"{name} is active.")


def queues(account: Account) -> Iterator[Finding]:
    """Check the queues: waiting and dead-lettered messages."""
    waiting = _depth(account, account.deployed["wake_queue_url"])
    if waiting > MANY_WAITING:
        yield warn(
            "queue", f"{counted(waiting, 'change')} waiting for the projector.", "docs/operations.md, ProjectionLate."
        )
    else:
        yield ok("queue", f"{counted(waiting, 'change')} waiting.")
    for key, what in (("dead_letter_queue_url", "dead letters"), ("undelivered_queue_url", "undelivered")):
        url = account.deployed.get(key)
        if url is None:
            continue
        aside = _depth(account, url)
        if aside:
            do = "Mend the cause (docs/operations.md), then promotion redrive."
            yield fail(what, f"{counted(aside, 'message')} set aside.", do)
        else:
            yield ok(what, "none.")


def _depth(account: Account, url: str) -> int:
    names_: list[QueueAttributeNameType] = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = account.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names_)["Attributes"]
    return sum(int(found.get(name, "0")) for name in names_)


def alarms(account: Account) -> Iterator[Finding]:
    """Check that the topics have subscribers."""
    topic = account.deployed.get("alarm_topic")
    if topic is None:
        yield not_checked("alarms", "this deployment doesn't say where they go.", "Deploy again.")
        return
    pages = account.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [each for page in pages for each in page["Subscriptions"]]
    confirmed = [each for each in found if each["SubscriptionArn"].startswith("arn:")]
    if confirmed:
        yield ok("alarms", f"{counted(len(confirmed), 'subscriber')}.")
    else:
        do = f"aws sns subscribe --topic-arn {topic} --protocol email --notification-endpoint ADDRESS, and confirm it."
        yield warn("alarms", "nobody hears them.", do)


def environments(account: Account) -> Iterator[Finding]:
    """Find live models whose environment or group the configuration no longer contains."""
    settings = account.settings
    ledger = DynamoLedger(account.client("dynamodb"), account.deployed["ledger_table"])
    live = [state for state in ledger.environments() if state.live is not None]
    gone = [state for state in live if state.name not in (*settings.environment_names, *settings.retired)]
    for state in gone:
        parameter = names.live_parameter(account.prefix, state.group, state.name)
        said = f"{state.name} is not in promotion.toml, and {state.group} v{state.live} still serves there."
        do = f"Put it back, or move its pipelines away from {parameter} and revoke v{state.live} if nobody may use it."
        yield warn("environments", said, do)
    ungoverned = sorted({state.group for state in live if not settings.governs(state.group)})
    if ungoverned:
        said = f"{listed(ungoverned[:5])} {'has' if len(ungoverned) == 1 else 'have'} live models, and is not governed any more."
        yield warn("environments", said, "Put the pattern back into `groups`: nobody is asked about new versions.")
    if not gone and not ungoverned:
        yield ok("environments", f"{counted(len(live), 'live model')}, all in configured environments.")


def service_key(account: Account) -> str:
    """Return the public key, as PEM, of the KMS key that signs live records."""
    return KmsSigner(account.client("kms"), account.deployed["signing_key_arn"]).public_key_pem()


def public_key(account: Account, configured: str | None) -> Iterator[Finding]:
    """Compare the pipelines' public key with KMS's signing key. `configured` is a PEM, a path, or None."""
    arn = account.deployed["signing_key_arn"]
    if configured is None:
        yield warn(
            "public key",
            "none is configured.",
            "promotion doctor --write-key writes promotion.pub beside promotion.toml.",
        )
        return
    try:
        known = {key.public_numbers() for key in public_keys(configured)}
    except Invalid as error:
        yield fail("public key", error.reason, "promotion doctor --write-key")
        return
    signs = {key.public_numbers() for key in public_keys(service_key(account))}
    if signs <= known:
        yield ok("public key", f"it is KMS's {arn.rpartition('/')[2]}.")
    else:
        do = "Find out who changed which. Pipelines refuse every record until both agree."
        yield fail("public key", f"the configured one is not KMS's {arn.rpartition('/')[2]}.", do)


def test_mail(account: Account, to: str, now: datetime) -> Iterator[Finding]:
    """Send one mail as the service would."""
    sender = account.settings.mail.sender
    links = f", with links to {account.service['api_url']}" if account.service else ""
    text = f"This is a test by `promotion doctor`. Mails about models come from this address{links}.\n"
    mark = f"doctor.{now:%Y%m%d%H%M%S}"
    message = Message(
        to=(to,), subject="Test of the model promotion service", text=text, html=f"<p>{text}</p>",
        thread="doctor", message_id=mark, date=now,
    )  # fmt: skip
    sent = account.client("sesv2").send_email(
        FromEmailAddress=sender,
        Destination={"ToAddresses": [to]},
        Content={"Raw": {"Data": mime(message, sender=sender, reply_to=account.settings.mail.reply_to)}},
    )
    yield ok("test mail", f"SES took one to {to} ({sent['MessageId']}); is it there, and not among the junk?")
