"""Groups by Microsoft Graph, as its documentation has it answer, where Entra ID's token leaves them out."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from promotion.aws.identity.graph import MOST_PAGES
from promotion.domain.people import Person
from promotion.errors import ProviderUnavailable, SignInFailed
from tests.identity.provider import RSA, Application, Provider, signed

MEMBERSHIPS = "/v1.0/me/transitiveMemberOf/microsoft.graph.group"
FIRST = f"{MEMBERSHIPS}?$select=id&$top=999"
# https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference#groups-overage-claim
OVERAGE: dict[str, Any] = {
    "groups": ...,
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://graph.windows.net/tenant/users/ann/getMemberObjects"}},
}


@pytest.fixture
def application(provider: Provider) -> Application:
    return Application(provider, graph=provider.issuer)


def page(provider: Provider, *ids: str, more: str = "") -> dict[str, Any]:
    """A page of memberships; `more` is the token of the next."""
    found: dict[str, Any] = {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#groups(id)",
        "value": [{"id": each} for each in ids],
    }
    if more:
        found["@odata.nextLink"] = f"{provider.issuer}{FIRST}&$skiptoken={more}"
    return found


def graph_has(provider: Provider, *pages: tuple[str, ...]) -> None:
    for number, ids in enumerate(pages):
        path = FIRST if number == 0 else f"{FIRST}&$skiptoken={number}"
        more = str(number + 1) if number + 1 < len(pages) else ""
        provider.answers[path] = (200, page(provider, *ids, more=more))


def signs_in(application: Application, **changes: Any) -> Person:
    _, sign_in = application.begin()
    application.provider.token = signed(application.provider.claims(sign_in, **{**OVERAGE, **changes}), RSA)
    return application.finish(sign_in)


def test_the_groups_of_all_pages_count(application: Application, provider: Provider) -> None:
    graph_has(provider, ("payroll", "canteen"), ("ml-dev",), ("ml-auditors",))
    person = signs_in(application)
    assert (person.groups, person.groups_brought) == (frozenset({"ml-dev", "ml-auditors"}), 4)
    assert provider.headers[FIRST]["Authorization"] == "Bearer opaque"


def test_a_page_without_groups_ends_nothing(application: Application, provider: Provider) -> None:
    graph_has(provider, (), ("ml-dev",))
    assert signs_in(application).groups == {"ml-dev"}


def test_the_permission_is_asked_for_at_sign_in(application: Application, provider: Provider) -> None:
    address, _ = application.begin()
    (scopes,) = parse_qs(urlsplit(address).query)["scope"]
    assert scopes.split() == ["openid", "profile", "email", f"{provider.issuer}/GroupMember.Read.All"]


def test_graph_is_asked_only_where_the_token_leaves_groups_out(application: Application, provider: Provider) -> None:
    assert application.signs_in().groups == {"ml-dev", "ml-auditors"}
    assert not [path for path in provider.asked if path.startswith(MEMBERSHIPS)]


def test_without_the_setting_an_overage_is_refused_with_its_remedy_and_nothing_is_asked(provider: Provider) -> None:
    graph_has(provider, ("ml-dev",))
    with pytest.raises(SignInFailed, match=r"groups assigned to this application.*Microsoft Graph"):
        signs_in(Application(provider))
    assert not [path for path in provider.asked if path.startswith(MEMBERSHIPS)]


def test_a_permission_that_nobody_gave_is_named(application: Application, provider: Provider) -> None:
    # https://learn.microsoft.com/en-us/graph/errors
    refused = {
        "error": {"code": "Authorization_RequestDenied", "message": "Insufficient privileges.", "innerError": {}}
    }
    provider.answers[FIRST] = (403, refused)
    with pytest.raises(SignInFailed, match=r"Authorization_RequestDenied \(Insufficient privileges\).*GroupMember"):
        signs_in(application)


def test_the_token_follows_no_page_to_another_host(application: Application, provider: Provider) -> None:
    provider.answers[FIRST] = (200, page(provider, "ml-dev") | {"@odata.nextLink": "https://evil.example/more"})
    with pytest.raises(SignInFailed, match="another host"):
        signs_in(application)


@pytest.mark.parametrize(
    "answer",
    [{}, {"value": "ml-dev"}, {"value": ["ml-dev"]}, {"value": [{"id": 7}]}, {"value": [{"displayName": "ml-dev"}]}],
)
def test_an_invalid_list_of_groups_gives_no_right(application: Application, provider: Provider, answer: Any) -> None:
    provider.answers[FIRST] = (200, answer)
    with pytest.raises(SignInFailed, match="something else"):
        signs_in(application)


def test_pages_without_end_are_not_followed_without_end(application: Application, provider: Provider) -> None:
    provider.answers[FIRST] = (200, page(provider, "payroll", more="1"))
    provider.answers[f"{FIRST}&$skiptoken=1"] = (200, page(provider, "payroll", more="1"))
    with pytest.raises(SignInFailed, match="more pages"):
        signs_in(application)
    assert provider.asked[f"{FIRST}&$skiptoken=1"] == MOST_PAGES - 1


@pytest.mark.parametrize(("status", "code"), [(503, "serviceNotAvailable"), (429, "TooManyRequests")])
def test_graph_out_of_order_is_no_refusal(application: Application, provider: Provider, status: int, code: str) -> None:
    provider.answers[FIRST] = (status, {"error": {"code": code}})
    with pytest.raises(ProviderUnavailable):
        signs_in(application)
