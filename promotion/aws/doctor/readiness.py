"""Doctor checks of an account's readiness, before and after a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError, NoCredentialsError

from promotion.aws.doctor.findings import Account, Finding, fail, ok, warn
from promotion.config.settings import Config, Environment
from promotion.formatting import counted, listed

# The template's least version: https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html#bootstrap-version
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
BOOTSTRAP_VERSION = 6
# AWS rejects signatures with a clock skew of five minutes; sign-in fails sooner (CLOCK_SKEW_S in
# promotion/aws/identity).
SIGNATURE_SKEW_S = 300
SIGN_IN_SKEW_S = 60
_UNTOUCHED = (".example.com", "@example.com")


def configuration(account: Account) -> Iterator[Finding]:
    """Report the policy's digest, and example values that are still in the configuration."""
    settings = account.settings
    environments = " → ".join(settings.environment_names)
    yield ok("configuration", f"{environments}; policy {settings.policy_digest()[:12]}.")
    said = [*(a for e in settings.environments for a in e.approvers), settings.mail.sender, settings.identity.issuer]
    untouched = sorted({text for text in said if any(part in text for part in _UNTOUCHED)})
    if untouched:
        shown = listed([*untouched[:3], *(["more"] if len(untouched) > 3 else [])])
        yield warn("configuration", f"it still has the example's {shown}.", "Put your own in: docs/configuration.md.")
    ungated = [e.name for e in settings.environments[1:] if not e.gates]
    if ungated:
        yield warn(
            "gates", f"{listed(ungated)} {_has(ungated)} no gate.", "Name a metric and a bound, or leave it to people."
        )
    alone = [e.name for e in settings.environments if len(set(e.approvers)) < e.quorum and not _is_list(e.approvers)]
    if alone:
        yield warn(
            "quorum", f"{listed(alone)} mails fewer people than have to approve.", "Add approvers, or a list address."
        )


def credentials(account: Account) -> Iterator[Finding]:
    try:
        who = account.client("sts").get_caller_identity()
    except NoCredentialsError:
        yield fail("credentials", "there are none.", "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret.")
        return
    yield ok("credentials", f"{who['Arn']} in account {who['Account']}.")
    theirs = parsedate_to_datetime(who["ResponseMetadata"]["HTTPHeaders"]["date"])
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    if skew > SIGNATURE_SKEW_S:
        yield fail(
            "clock", f"this machine is {skew:.0f} s off AWS's clock.", "Set it: AWS refuses what is signed so late."
        )
    elif skew > SIGN_IN_SKEW_S:
        yield warn("clock", f"this machine is {skew:.0f} s off AWS's clock.", "Set it.")
    else:
        yield ok("clock", "this machine's agrees with AWS's.")


def region(account: Account) -> Iterator[Finding]:
    if account.config is None:
        yield ok("region", account.region)
        return
    elsewhere = [e.name for e in account.config.environments if e.region not in (None, account.region)]
    if elsewhere:
        said = f"{account.region}, but {listed(elsewhere)} {_has(elsewhere)} another in promotion.toml."
        yield fail(
            "region", said, "SageMaker reads artifacts in its own region only: make them the same, or set AWS_REGION."
        )
    else:
        yield ok("region", account.region)


def bootstrap(account: Account) -> Iterator[Finding]:
    ssm = account.client("ssm")
    do = f"npx cdk bootstrap aws://ACCOUNT/{account.region}"
    try:
        version = int(ssm.get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        yield fail("CDK bootstrap", f"there is none in {account.region}.", do)
        return
    if version < BOOTSTRAP_VERSION:
        yield fail("CDK bootstrap", f"it is version {version}; {BOOTSTRAP_VERSION} is needed.", do)
    else:
        yield ok("CDK bootstrap", f"version {version}.")


def artifacts(account: Account) -> Iterator[Finding]:
    """Check the buckets of models: they exist, in this region, with versioning."""
    buckets = account.settings.artifacts.buckets
    if not buckets:
        yield warn("artifacts", "no bucket is named.", "Name those of your models under [artifacts] buckets.")
    s3 = account.client("s3")
    for name in buckets:
        try:
            where = s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPHeaders"].get(
                "x-amz-bucket-region", account.region
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise
            yield fail("artifacts", f"there is no bucket {name}.", "Make it, or mend [artifacts] buckets.")
            continue
        if where != account.region:
            yield fail(
                "artifacts",
                f"{name} is in {where}.",
                f"SageMaker reads artifacts in its own region, {account.region}, only.",
            )
        elif s3.get_bucket_versioning(Bucket=name).get("Status") != "Enabled":
            do = "Switch versioning on: what is overwritten can't be served again, only refused."
            yield warn("artifacts", f"{name} keeps no versions.", do)
        else:
            yield ok("artifacts", f"{name} is here, with versions.")


def registry(account: Account) -> Iterator[Finding]:
    """Check that any model package group is governed; a misspelt pattern governs none, without an error."""
    sagemaker, known, governed = account.client("sagemaker"), 0, 0
    for page in sagemaker.get_paginator("list_model_package_groups").paginate():
        for group in page["ModelPackageGroupSummaryList"]:
            known += 1
            governed += account.settings.governs(group["ModelPackageGroupName"])
    if known and not governed:
        yield warn(
            "registry", f"{counted(known, 'group')}, none of them governed.", "Look at `groups` in promotion.toml."
        )
    else:
        yield ok("registry", f"{counted(known, 'model package group')}, {governed:,} governed.")


def quota(account: Account, environments: Sequence[Environment] | None = None) -> Iterator[Finding]:
    """Check SageMaker's quota of instances for `environments`, by default those of the service's account.

    New accounts have a quota of 0 for GPU instances.
    """
    settings = account.settings
    if environments is None:
        environments = [each for each in settings.environments if each.name not in settings.cross_account]
    # By quota name: the most that one environment needs, and the sum over all environments.
    wanted: dict[str, tuple[int, int]] = {}
    for name, each, at_once in (use for environment in environments for use in _instances(settings, environment)):
        least, most = wanted.get(name, (0, 0))
        wanted[name] = (max(least, each), most + at_once)
    found = _quotas(account, set(wanted))
    for name, (each, most) in wanted.items():
        value = found.get(name)
        if value is None:
            yield warn(
                "quota", f"AWS knows no quota “{name}”.", "Is the instance type right, and offered in this region?"
            )
        elif value < each:
            do = f"Ask for at least {each}: Service Quotas console, Amazon SageMaker. It can take days."
            yield fail("quota", f"{value:.0f} of “{name}”, {each} needed.", do)
        elif value < most:
            do = "Ask for more, or runs of several environments at once, and updates of endpoints, will fail."
            yield warn("quota", f"{value:.0f} of “{name}”, up to {most} at once.", do)
        else:
            yield ok("quota", f"{value:.0f} of “{name}”.")


def _instances(settings: Config, environment: Environment) -> Iterator[tuple[str, int, int]]:
    """Return an environment's quota name, the instances that it needs, and its maximum at once."""
    run, endpoint = settings.inference, environment.endpoint
    yield f"{run.instance_type} for transform job usage", run.instance_count, run.instance_count
    yield f"{run.score_instance_type} for processing job usage", 1, 1
    if endpoint is not None:
        # An update starts the new fleet beside the old one.
        yield f"{endpoint.instance_type} for endpoint usage", endpoint.instance_count, 2 * endpoint.instance_count


def _quotas(account: Account, wanted: set[str]) -> dict[str, float]:
    """Return quotas by name: the account's own value if it has one, else AWS's default."""
    client, found = account.client("service-quotas"), dict[str, float]()
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            for each in page["Quotas"]:
                if each["QuotaName"] in wanted:
                    found.setdefault(each["QuotaName"], float(each["Value"]))
            if wanted <= set(found):
                return found
    return found


def sender(account: Account) -> Iterator[Finding]:
    """Check that SES sends mails from the configured sender."""
    address = account.settings.mail.sender
    identities = (_identity(account, name) for name in (address, address.partition("@")[2]))
    known = [verified for verified in identities if verified is not None]
    if not known and account.service is None:
        do = "The stack makes the identity; its output SesRecords has the DNS records to make."
        yield warn("sender", f"SES doesn't know {address} yet.", do)
    elif not known:
        yield fail("sender", f"SES doesn't know {address}.", "Deploy again, or verify the address or its domain.")
    elif not any(known):
        do = "Make the DNS records of the output SesRecords, or follow the link that SES mailed."
        yield fail("sender", f"SES has not verified {address}.", do)
    else:
        yield ok("sender", f"SES sends as {address}.")


def recipients(account: Account) -> Iterator[Finding]:
    """Check that SES is out of its sandbox; if not, name the people it can't reach."""
    state = account.client("sesv2").get_account()
    if not state.get("SendingEnabled", True):
        yield fail(
            "recipients", "SES has switched sending off in this account.", "Look at the SES console: reputation."
        )
    elif state.get("ProductionAccessEnabled"):
        yield ok("recipients", "SES is out of the sandbox.")
    else:
        people = sorted({address for e in account.settings.environments for address in e.approvers})
        deaf = [each for each in people if not (_identity(account, each) or _identity(account, each.partition("@")[2]))]
        if deaf:
            do = "Ask for production access, or verify each address: docs/deploy.md."
            shown = listed([*deaf[:6], *(["more"] if len(deaf) > 6 else [])])
            yield fail("recipients", f"SES is in its sandbox and won't mail {shown}.", do)
        else:
            do = "Requesters get no mail: ask for production access."
            yield warn("recipients", "SES is in its sandbox; all approvers are verified.", do)


def _identity(account: Account, name: str) -> bool | None:
    """Return True if SES verified an address or domain; None if it is unknown."""
    ses = account.client("sesv2")
    try:
        return bool(ses.get_email_identity(EmailIdentity=name).get("VerifiedForSendingStatus"))
    except ses.exceptions.NotFoundException:
        return None


def _is_list(approvers: Iterable[str]) -> bool:
    """Return True for a single address, because it may be a mailing list that reaches enough people for the quorum."""
    return len(set(approvers)) == 1


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
