"""Doctor checks before the first deployment: causes for which `cdk deploy` would fail in the service's own account.

They don't run once the stack is deployed, because the stack has then made these resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.doctor.findings import Account, Finding, fail, ok, warn
from promotion.formatting import counted, listed

if TYPE_CHECKING:
    from mypy_boto3_kms.type_defs import KeyMetadataTypeDef

# The build of the inference image: infra/image.py. Both names are Service Quotas' own.
BUILDS = "Concurrently running builds for Linux/Large environment"
# A new account's limit. The functions for hashing, pages and projections share it with all other functions of the
# account.
FEW_CONCURRENT = 100
# https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
_USABLE = "Enabled"
_MISSING = frozenset(
    {
        "404",
        "NoSuchBucket",
        "NotFoundException",
        "NoSuchEntity",
        "ResourceNotFoundException",
    }
)


def identity(account: Account) -> Iterator[Finding]:
    """Check the sender's domain in SES: it can be made once in an account and region."""
    mail = account.settings.mail
    domain = mail.sender.rpartition("@")[2].rstrip(">")
    client = account.client("sesv2")
    there = _found(lambda: client.get_email_identity(EmailIdentity=domain))
    if there and mail.identity == "managed":
        yield fail(
            "mail identity",
            f"SES knows {domain} already, and the stack would make it.",
            'Set identity = "existing" under [mail].',
        )
    elif (
        not there
        and mail.identity == "existing"
        and not _found(lambda: client.get_email_identity(EmailIdentity=mail.sender))
    ):
        yield fail(
            "mail identity", f"SES knows no {domain}, and the stack won't make it.", "Take identity out of [mail]."
        )
    else:
        yield ok("mail identity", f"{domain}: {'it is there' if there else 'the stack makes it'}.")


def builds(account: Account) -> Iterator[Finding]:
    """Check that CodeBuild may run the build of the inference image; new accounts often have a quota of 0."""
    if account.settings.inference.image is not None:
        return
    client = account.client("service-quotas")
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode="codebuild"):
            for each in page["Quotas"]:
                if each["QuotaName"] == BUILDS:
                    yield _builds(float(each["Value"]))
                    return
    yield warn("builds", f"AWS knows no quota “{BUILDS}”.", "Look at Service Quotas, AWS CodeBuild.")


def _builds(value: float) -> Finding:
    if value >= 1:
        return ok("builds", f"{value:.0f} of “{BUILDS}”.")
    do = "Ask for 1: Service Quotas console, AWS CodeBuild; or name an image under [advanced.inference] image."
    return fail("builds", f"0 of “{BUILDS}”: the inference image can't be built.", do)


def concurrency(account: Account) -> Iterator[Finding]:
    """Check the number of functions that may run at once in the account."""
    most = int(account.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"])
    if most < FEW_CONCURRENT:
        do = "Ask for 1,000: Service Quotas console, AWS Lambda. Until then a burst of registrations slows the pages down."
        yield warn("concurrency", f"{most} functions at once, for everything in this account.", do)
    else:
        yield ok("concurrency", f"{most:,} functions at once.")


def buckets(account: Account) -> Iterator[Finding]:
    """Check the buckets of inputs and of runs; those of artifacts are always checked."""
    client, settings = account.client("s3"), account.settings
    for name in sorted(set(settings.data_buckets) - set(settings.artifacts.buckets)):
        if _found(lambda name=name: client.head_bucket(Bucket=name)):  # type: ignore[misc]
            yield ok("inputs", f"{name} is there.")
        else:
            yield fail("inputs", f"there is no bucket {name}.", "Make it, or mend [inference].")


def keys(account: Account) -> Iterator[Finding]:
    """Check that the configured KMS keys exist, are enabled and for encryption, and can be shared if they must be."""
    settings, client = account.settings, account.client("kms")
    named = {*settings.artifacts.keys, settings.inference.volume_key, settings.inference.output_key}
    for environment in settings.environments:
        named |= (
            {environment.volume_key, environment.output_key}
            if environment.name not in settings.cross_account
            else set()
        )
    for key in sorted(filter(None, named)):
        try:
            found = client.describe_key(KeyId=key)["KeyMetadata"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            yield fail("keys", f"there is no key {key}.", "Mend the setting that names it.")
            continue
        yield _key(key, found, shared=bool(settings.cross_account) and key in settings.artifacts.keys)


def _key(key: str, found: KeyMetadataTypeDef, *, shared: bool) -> Finding:
    if found["KeyState"] != _USABLE or found["KeyUsage"] != "ENCRYPT_DECRYPT":
        said = f"{key} is {found['KeyState']}, for {found['KeyUsage']}."
        return fail("keys", said, "Take a key that is enabled, for encryption.")
    if shared and found["KeyManager"] == "AWS":
        do = "Have training write artifacts under a key of yours: OutputDataConfig.KmsKeyId."
        return fail("keys", f"{key} is managed by AWS, and other accounts can't be let into it.", do)
    return ok("keys", f"{key.rpartition('/')[2]} is enabled.")


def taken(account: Account) -> Iterator[Finding]:
    """Find resources with a fixed name that exist already: of an earlier installation or of a failed deployment."""
    settings = account.settings
    service = names.installation(account.prefix)
    there: list[str] = []
    if settings.ledger_table is None and _alias(account, f"alias/{service}-signing"):
        there.append(f"alias/{service}-signing")
    if settings.cross_account:
        evidence = f"{service}-evidence-{settings.registry.account}-{settings.registry.region}"
        s3, events, iam = account.client("s3"), account.client("events"), account.client("iam")
        if settings.ledger_table is None and _found(lambda: s3.head_bucket(Bucket=evidence)):
            there.append(f"bucket {evidence}")
        if _found(lambda: events.describe_event_bus(Name=service)):
            there.append(f"event bus {service}")
        if _found(lambda: iam.get_role(RoleName=f"{service}-forwarder")):
            there.append(f"role {service}-forwarder")
    if there:
        do = (
            "Set [advanced] ledger_table to go on with what an earlier installation left, take another PROMOTION_PREFIX, or "
            "delete it."
        )
        yield fail("names", f"{listed(there)} {'is' if len(there) == 1 else 'are'} there already.", do)
    else:
        yield ok("names", f"nothing is in the way of {service}.")


def _alias(account: Account, name: str) -> bool:
    pages = account.client("kms").get_paginator("list_aliases").paginate()
    return any(each["AliasName"] == name for page in pages for each in page["Aliases"])


def domain(account: Account) -> Iterator[Finding]:
    """Check a custom domain: its certificate is issued for it, in this region, and no other API uses it."""
    web = account.settings.web
    if web.domain_name is None or web.certificate_arn is None:
        return
    name, acm, api = web.domain_name, account.client("acm"), account.client("apigatewayv2")
    try:
        found = acm.describe_certificate(CertificateArn=web.certificate_arn)["Certificate"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        yield fail("domain", f"there is no certificate {web.certificate_arn}.", "Mend [advanced.web] certificate_arn.")
        return
    covered = [found["DomainName"], *found.get("SubjectAlternativeNames", [])]
    wild = f"*.{web.domain_name.partition('.')[2]}"
    if found["Status"] != "ISSUED":
        yield fail("domain", f"its certificate is {found['Status']}.", "Make its DNS record of validation, and wait.")
    elif not {web.domain_name, wild} & set(covered):
        yield fail("domain", f"its certificate is for {listed(covered)}.", "Ask ACM for one that covers it.")
    elif _found(lambda: api.get_domain_name(DomainName=name)):
        yield fail("domain", f"{web.domain_name} is an API's domain already.", "Take it away there, or choose another.")
    else:
        yield ok("domain", f"a certificate for {web.domain_name} is issued.")


def network(account: Account) -> Iterator[Finding]:
    """Check the subnets and security groups that jobs run in."""
    inference = account.settings.inference
    client = account.client("ec2")
    subnets, groups = list(inference.subnets), list(inference.security_groups)
    checks: tuple[tuple[str, list[str], Callable[[], object]], ...] = (
        ("subnet", subnets, lambda: client.describe_subnets(SubnetIds=subnets)),
        ("security group", groups, lambda: client.describe_security_groups(GroupIds=groups)),
    )
    for what, given, describe in checks:
        if not given:
            continue
        try:
            describe()
        except ClientError as error:
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
            yield fail(
                "network",
                f"{str(error.response['Error']['Message']).rstrip('.')}.",
                "Mend [advanced.inference] subnets and security_groups.",
            )
        else:
            yield ok("network", f"{counted(len(given), what)} here.")


def roles(account: Account) -> Iterator[Finding]:
    """Check the execution roles that the configuration names."""
    settings, iam = account.settings, account.client("iam")
    for environment in settings.environments:
        role = environment.execution_role
        if role is None or environment.name in settings.cross_account:
            continue
        if _found(lambda role=role: iam.get_role(RoleName=role.rpartition("/")[2])):  # type: ignore[misc]
            yield ok("roles", f"{role.rpartition('/')[2]} is there.")
        else:
            yield fail("roles", f"there is no role {role}.", f"Make it, or mend execution_role of {environment.name}.")


def _found(ask: Callable[[], object]) -> bool:
    """Return True if a resource exists."""
    try:
        ask()
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        return False
    return True
