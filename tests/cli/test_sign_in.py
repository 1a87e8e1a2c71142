"""`promotion doctor --sign-in`: what a token brought, said so that its configuration can be mended."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from msgspec.structs import replace

from promotion.aws.doctor.findings import Account, Finding
from promotion.cli import sign_in
from promotion.config.loading import Config, parse
from tests.adapters.conftest import Aws
from tests.fakes import CONFIG_TEXT
from tests.identity.provider import CLIENT_ID, RSA, Provider, signed

NOWHERE = "http://127.0.0.1:8000/callback"


def configured(provider: Provider) -> Config:
    text = CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer)
    return parse(text)


def account(config: Config) -> Account:
    return Account(client=boto3.client, region="us-east-1", prefix="/promotion", config=config)


def browser(provider: Provider, capsys: pytest.CaptureFixture[str], **claims: Any) -> Callable[[], str]:
    """Somebody who opens the printed address, signs in, and pastes the one that they come back to."""

    def pasted() -> str:
        printed = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("http"))
        query = {name: values[0] for name, values in parse_qs(urlsplit(printed).query).items()}
        assert query["redirect_uri"] == NOWHERE
        assert "response_mode" not in query
        moment = int(datetime.now(UTC).timestamp())
        good = {
            "iss": provider.issuer, "aud": CLIENT_ID, "sub": "subject-of-ann", "iat": moment, "exp": moment + 600,
            "nonce": query["nonce"], "name": "Ann Adler", "email": "ann@example.com", "groups": ["ml-dev"],
        }  # fmt: skip
        provider.token = signed({name: value for name, value in {**good, **claims}.items() if value is not ...}, RSA)
        return f"{NOWHERE}?code=a-code&state={query['state']}\n"

    return pasted


def signs_in(provider: Provider, capsys: pytest.CaptureFixture[str], **claims: Any) -> dict[str, Finding]:
    config = configured(provider)
    found = sign_in.ask(account(config), callback=None, read_line=browser(provider, capsys, **claims))
    return {finding.check: finding for finding in found}


def test_a_members_groups_are_shown_with_those_that_count(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    known = configured(provider).environments[0].approver_group.id
    found = signs_in(provider, capsys, groups=[known, "payroll"], amr=["pwd"], acr="loa-2")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert f"2 came in “groups”: {known} and payroll." in found["sign-in: groups"].found
    assert f"knows {known}" in found["sign-in: groups"].found
    assert "ann@example.com" in found["sign-in: person"].found
    assert "acr loa-2; amr pwd" in found["sign-in: how"].found


@pytest.mark.parametrize("spelt", ["{0}", "CORP\\{1}", "/team/{1}", "CN={1},OU=Groups,DC=corp,DC=test"])
def test_a_group_that_is_only_spelt_otherwise_is_pointed_at(
    provider: Provider, capsys: pytest.CaptureFixture[str], spelt: str
) -> None:
    known = configured(provider).environments[0].approver_group.id
    found = signs_in(provider, capsys, groups=[spelt.format(known.upper(), known)])
    assert found["sign-in: groups"].state == "fail"
    assert f"looks like “{known}”" in found["sign-in: groups"].found
    assert known in found["sign-in: groups"].do


def test_a_claim_that_is_missing_is_named_beside_those_that_came(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    found = signs_in(provider, capsys, groups=..., roles=["ml-dev"])
    assert found["sign-in"].state == "fail"
    assert "no claim “groups”" in found["sign-in"].found
    assert "roles" in found["sign-in: claims"].found


def test_a_person_without_an_address_is_warned_of(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    known = configured(provider).environments[0].approver_group.id
    found = signs_in(provider, capsys, groups=[known], email=..., name="Ann")
    assert found["sign-in: person"].state == "warn"


def test_the_providers_error_is_shown(provider: Provider) -> None:
    answer = f"{NOWHERE}?error=access_denied&error_description=AADSTS50105%3A+not+assigned"
    (found,) = sign_in.ask(account(configured(provider)), callback=None, read_line=lambda: answer)
    assert (found.state, found.found) == ("fail", "access_denied AADSTS50105: not assigned")


def test_a_code_that_the_provider_does_not_take_is_a_failure(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    pasted = f"{NOWHERE}?code=a-code&state=x"
    (found,) = sign_in.ask(account(configured(provider)), callback=None, read_line=lambda: pasted)
    assert (found.check, found.state) == ("sign-in", "fail")
    assert "invalid_grant" in found.found


def test_rules_that_no_sign_in_of_this_provider_meets_are_named(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    signing = '[advanced.environments.prod.decision]\nreauthenticate = true\nacr_values = ["phishing-resistant"]\n'
    config = parse(CONFIG_TEXT.replace("https://login.example.com/tenant/v2.0", provider.issuer) + signing)
    found = sign_in.ask(account(config), callback=None, read_line=browser(provider, capsys, amr=["pwd"]))
    how = [(finding.state, finding.found) for finding in found if finding.check == "sign-in: how"]
    assert how[1:] == [
        ("fail", "prod wants credentials to be entered again, and no auth_time came."),
        ("not checked", "prod wants phishing-resistant, which this sign-in hasn't; it wasn't asked for."),
    ]


def test_a_deployment_has_its_own_address_and_secret(
    aws: Aws, provider: Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IDP_CLIENT_SECRET", raising=False)
    secret = aws.client("secretsmanager").create_secret(Name="identity", SecretString='{"client_secret": "of-aws"}')
    service = {"api_url": "https://promotion.example.com", "identity_secret_arn": secret["ARN"]}
    there = replace(account(configured(provider)), service=service)
    pasted = "https://promotion.example.com/callback?code=a-code&state=x"
    sign_in.ask(there, callback=None, read_line=lambda: pasted)
    assert "redirect_uri=https%3A%2F%2Fpromotion.example.com%2Fcallback" in capsys.readouterr().err
    sent = base64.b64decode(provider.headers["/token"]["Authorization"].removeprefix("Basic ")).decode()
    assert sent.endswith(":of-aws")


def test_the_secret_may_come_from_the_environment(
    provider: Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_CLIENT_SECRET", "of-the-test")
    signs_in(provider, capsys)
    assert provider.headers["/token"]["Authorization"].startswith("Basic ")
