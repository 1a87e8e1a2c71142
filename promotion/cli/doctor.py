"""`promotion doctor`: check the service's requirements, before and after deployment."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import boto3
import msgspec
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.aws.accounts import Accounts
from promotion.aws.doctor import cross_account, deployed, first_deployment, limits, readiness, upgrade
from promotion.aws.doctor.findings import Account, Check, Finding, examine, fail, not_checked, ok
from promotion.aws.doctor.provider import provider
from promotion.cli import sign_in
from promotion.cli.missing import NO_REGION
from promotion.cli.service import prefix
from promotion.cli.tables import table
from promotion.client.resolve import find_public_key
from promotion.config import loading as configuration
from promotion.config.loading import Config
from promotion.errors import Invalid

if TYPE_CHECKING:
    from promotion.aws.clients import ClientFor

# Short timeouts and one retry, because boto3's defaults wait minutes for each service that can't be reached.
_PATIENCE = BotoConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 2})

_Checks: TypeAlias = tuple[tuple[str, Callable[[Account], Iterator[Finding]]], ...]
_ALWAYS: _Checks = (
    ("credentials", readiness.credentials),
    ("region", readiness.region),
)
_REACHED: _Checks = (("CDK bootstrap", readiness.bootstrap),)
_READINESS: _Checks = (
    ("artifacts", readiness.artifacts),
    ("registry", readiness.registry),
    ("quota", readiness.quota),
    ("sender", readiness.sender),
    ("recipients", readiness.recipients),
    ("identity provider", provider),
)
# Checks for causes of a failing first deployment; once deployed, the service has these resources.
_FIRST: _Checks = (
    ("mail identity", first_deployment.identity),
    ("builds", first_deployment.builds),
    ("concurrency", first_deployment.concurrency),
    ("inputs", first_deployment.buckets),
    ("keys", first_deployment.keys),
    ("names", first_deployment.taken),
    ("domain", first_deployment.domain),
    ("network", first_deployment.network),
    ("roles", first_deployment.roles),
)
_CONDITION: _Checks = (
    ("pages", deployed.pages),
    ("client secret", deployed.client_secret),
    ("ledger", deployed.tables),
    ("queue", deployed.queues),
    ("alarms", deployed.alarms),
    ("release", upgrade.release),
    ("states", upgrade.states),
    ("parameters", limits.parameters),
)
# These checks compare the deployment with the file, so that they need both.
_BOTH: _Checks = (
    ("policy", deployed.policy),
    ("environments", deployed.environments),
)


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a test sign-in; `callback` replaces the deployment's redirect URI."""

    callback: str | None = None


def doctor(*, mail: str | None, writing_key: bool, signing_in: SignIn | None = None, as_json: bool) -> int:
    """Run the checks, print each finding in one line, and return 1 if any of them failed."""
    findings, account = examined()
    if signing_in is not None and account.config is not None:
        asked = partial(sign_in.ask, account, callback=signing_in.callback)
        findings += examine("sign-in", asked)
    if writing_key:
        findings += examine("public key", lambda: [write_key(account)])
    findings += examine("public key", partial(_public_key, account))
    if mail is not None and account.config is not None:
        sent = partial(deployed.test_mail, account, mail, datetime.now(UTC))
        findings += examine("test mail", sent)
    bad = any(finding.state == "fail" for finding in findings)
    if as_json:
        document = {"ok": not bad, "deployed": account.service is not None, "checks": msgspec.to_builtins(findings)}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print_findings(findings)
    return int(bad)


def examined() -> tuple[list[Finding], Account]:
    """Run all checks; return their findings and the account."""
    settings, findings = _settings()
    account = _account(settings)
    if settings is not None:
        findings += _all((("configuration", readiness.configuration),), account)
    findings += _all(_ALWAYS, account)
    if any(finding.check == "credentials" and finding.state == "fail" for finding in findings):
        # All other checks would fail for the same reason, except the one that needs no AWS.
        return findings + (_all((("identity provider", provider),), account) if settings else []), account
    findings += _all(_REACHED, account)
    service, found = _service(account)
    findings += found
    account = msgspec.structs.replace(account, service=service)
    if settings is not None:
        findings += _all(_READINESS, account)
        if service is None:
            findings += _all(_FIRST, account)
    if service is not None:
        findings += _all(_CONDITION, account)
    if service is not None and settings is not None:
        findings += _all(_BOTH, account)
    if settings is not None and settings.cross_account:
        findings += _all((("accounts", _afar),), account)
    return findings, account


def _afar(account: Account) -> Iterator[Finding]:
    sts, elsewhere = account.client("sts"), account.settings.cross_account
    accounts = Accounts(sts, elsewhere, prefix=account.prefix, purpose=cross_account.OPERATOR)
    return cross_account.look(account, accounts.clients)


def _all(checks: _Checks, account: Account) -> list[Finding]:
    found: list[Finding] = []
    for name, check in checks:
        look: Check = partial(check, account)
        found += examine(name, look)
    return found


def _settings() -> tuple[Config | None, list[Finding]]:
    try:
        return configuration.load(), []
    except Invalid as error:
        return None, [fail("configuration", str(error), "Mend it: docs/configuration.md has every setting.")]


def _account(settings: Config | None) -> Account:
    session = boto3.Session()
    region = session.region_name or ""
    if not region:
        raise Invalid("region", NO_REGION)

    client = cast("ClientFor", cache(partial(session.client, config=_PATIENCE)))

    return Account(client=client, region=region, prefix=prefix(), config=settings)


def _service(account: Account) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the stack's description of itself (None if not deployed), and the findings about it."""
    name, ssm = names.service_parameter(account.prefix), account.client("ssm")
    try:
        found = dict(json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"]))
        return found, [ok("service", f"deployed in {found['region']}, known by {name}.")]
    except ssm.exceptions.ParameterNotFound:
        return None, [not_checked("service", f"nothing is deployed here yet: there is no {name}.", "make deploy")]
    except (ClientError, BotoCoreError) as error:
        return None, [
            not_checked("service", f"{name} can't be read: {type(error).__name__}.", "Run it as somebody who may.")
        ]
    except (ValueError, TypeError, KeyError):
        return None, [fail("service", f"{name} is not what the stack wrote.", "Deploy again.")]


def _public_key(account: Account) -> Iterator[Finding]:
    if account.service is None:
        return
    try:
        configured = find_public_key()
    except Invalid:
        configured = None
    yield from deployed.public_key(account, configured)


def write_key(account: Account) -> Finding:
    """Write the public key of the signing key beside the configuration; never overwrite a different key."""
    if account.service is None:
        return fail("public key", "there is none to write: nothing is deployed here.", "make deploy")
    path = Path(os.environ.get(names.CONFIG, names.CONFIG_FILE)).parent / names.PUBLIC_KEY_FILE
    pem = deployed.service_key(account)
    if path.is_file() and pem.strip() not in path.read_text(encoding="ascii", errors="replace"):
        do = "If the service's key was changed on purpose, remove the file first."
        return fail("public key", f"{path} holds another key, and is left as it is.", do)
    path.write_text(pem, encoding="ascii")
    return ok("public key", f"{path} written, from {account.service['signing_key_arn']}.")


def _print_findings(findings: list[Finding]) -> None:
    # The remedy is on the same line, so that grep finds both.
    table([(each.state, each.check, f"{each.found} {each.do}".rstrip()) for each in findings])
    counts = {state: sum(finding.state == state for finding in findings) for state in ("fail", "warn", "not checked")}
    print(f"\n{counts['fail']} failed, {counts['warn']} to look at, {counts['not checked']} not checked.")
