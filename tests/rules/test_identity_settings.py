"""Refusals and warnings of `[identity]`."""

from __future__ import annotations

import json

import pytest

from promotion.config import identity
from promotion.config.loading import Config, parse
from promotion.errors import Invalid

GUID = "7b1f4e0c-2f1d-4a0e-9d57-0f3c5a8b9e11"


def configured(
    more: str = "", *, group: str = "ml-dev", issuer: str = "https://login.example.com", expert: str = ""
) -> Config:
    return parse(
        f'[mail]\nsender = "m@example.com"\n[identity]\nissuer = "{issuer}"\nclient_id = "c"\n{more}\n[[environments]]\n'
        f'name = "dev"\napprover_group = {{ id = {json.dumps(group)} }}\napprovers = ["a@example.com"]\n'
        f"[advanced.identity]\n{expert}\n"
    )


@pytest.mark.parametrize(
    ("expert", "said"),
    [
        ('scopes = ["profile"]', "openid"),
        ('ca_bundle = "/etc/ssl/company.pem"', "PEM text"),
        ('proxy = "proxy.example.com:8080"', "http://host:port"),
        ('proxy = "http://proxy.example.com:x"', "http://host:port"),
        ('graph = "graph.microsoft.com"', "identity.graph"),
        ('graph = "http://graph.microsoft.com"', "identity.graph"),
        ('graph = "https://graph.microsoft.com/v1.0"', "identity.graph"),
        ('graph = "https://ann@evil.example"', "identity.graph"),
        ('graph = "https://[graph.microsoft.com"', "identity.graph"),
        ('client_authentication = "tls"', "client_authentication"),
        ('response_mode = "fragment"', "response_mode"),
        ('groups_separator = ""', "groups_separator"),
    ],
)
def test_unusable_identity_settings_are_refused_with_their_place(expert: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        configured(expert=expert)


@pytest.mark.parametrize("group", ["ml-dev ", " ml-dev", "", "ml\u200b-dev"])
def test_an_id_that_no_token_carries_is_refused(group: str) -> None:
    with pytest.raises(Invalid, match=r"approver_group\.id"):
        configured(group=group)


@pytest.mark.parametrize(
    ("more", "group", "issuer", "said"),
    [
        ('groups_claim = "upn"', "ml-dev", "https://x.example", "names a person"),
        ("", "ML approvers", "https://login.microsoftonline.com/t/v2.0", "object id"),
        ("", "ml-dev,ml-test", "https://x.example", "comma"),
        ('auditors = { id = "ML-DEV" }', "ml-dev", "https://x.example", "spelling alone"),
    ],
)
def test_likely_mistakes_are_warned_of(more: str, group: str, issuer: str, said: str) -> None:
    told = identity.suspicions(configured(more, group=group, issuer=issuer))
    assert len(told) == 1
    assert said in told[0]


@pytest.mark.parametrize("group", [GUID, "CN=ml-dev,OU=Groups,DC=corp", "ml-dev"])
def test_right_settings_have_no_warning(group: str) -> None:
    assert identity.suspicions(configured(group=group)) == []
