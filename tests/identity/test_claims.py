"""Claim sets of every family of providers, through a whole sign-in."""

from __future__ import annotations

import pytest
from joserfc.jwk import OKPKey
from msgspec.structs import replace

from promotion.config.loading import parse
from promotion.domain import requesters
from promotion.domain.people import Actor, Requester
from promotion.errors import ProviderUnavailable, SignInFailed
from tests.identity.claim_checks import is_right, person_for
from tests.identity.claim_sets import CLAIM_SETS, ClaimSet
from tests.identity.provider import EC, ROTATED, RSA, STRANGER, Application, Provider


@pytest.mark.parametrize("told", CLAIM_SETS, ids=lambda told: told.title)
def test_claims_give_the_right_groups_and_names(provider: Provider, told: ClaimSet) -> None:
    if told.refused:
        with pytest.raises(SignInFailed, match=told.refused):
            person_for(provider, told)
        return
    person = person_for(provider, told)
    assert (told.group in person.groups) is told.member
    for field, expected in (("name", told.name), ("email", told.email), ("groups_brought", told.brought)):
        assert expected is None or getattr(person, field) == expected


def test_a_wrong_expectation_would_be_found(provider: Provider) -> None:
    good = next(told for told in CLAIM_SETS if told.member and not told.refused)
    assert is_right(provider, good)
    for wrong in ({"member": False}, {"name": "Somebody else"}, {"email": "x@y"}, {"brought": 99}, {"refused": "no"}):
        assert not is_right(provider, replace(good, **wrong))


def test_every_claim_set_has_a_title_of_its_own() -> None:
    assert len({told.title for told in CLAIM_SETS}) == len(CLAIM_SETS) >= 60


def test_a_bare_subject_is_shown_only_where_there_is_nothing_better(provider: Provider) -> None:
    adfs = next(told for told in CLAIM_SETS if told.family == "AD FS")
    assert person_for(provider, adfs).name == "CORP\\aadler"
    bare = replace(adfs, claims={**adfs.claims, "upn": ..., "unique_name": ...})
    assert person_for(provider, bare).name == adfs.claims["sub"]


def test_all_names_of_a_token_are_kept(application: Application) -> None:
    person = application.signs_in(upn="a.adler@corp.example.test", oid="0-1", preferred_username="aadler")
    assert person.authentication is not None
    assert person.authentication.names == {
        "email": "ann@example.com",
        "preferred_username": "aadler",
        "upn": "a.adler@corp.example.test",
        "oid": "0-1",
        "name": "Ann Adler",
    }


def test_the_method_of_authentication_is_stored(application: Application) -> None:
    person = application.signs_in(acr="loa-2", amr=["pwd", "mfa"], auth_time=1_795_000_000)
    assert person.authentication is not None
    assert (person.authentication.acr, person.authentication.amr) == ("loa-2", ("pwd", "mfa"))
    assert person.authentication.auth_time is not None
    assert person.authentication.auth_time.timestamp() == 1_795_000_000


def test_userinfo_is_asked_with_the_access_token_and_only_where_something_is_missing(provider: Provider) -> None:
    provider.userinfo = {"sub": "subject-of-ann", "groups": ["ml-dev"]}
    application = Application(provider)
    application.signs_in()
    assert provider.asked["/userinfo"] == 0
    application.signs_in(groups=...)
    assert provider.asked["/userinfo"] == 1
    assert provider.headers["/userinfo"]["Authorization"] == "Bearer opaque"


def test_a_mail_at_userinfo_tells_the_requester_though_the_id_token_has_a_upn(provider: Provider) -> None:
    provider.userinfo = {"sub": "subject-of-ann", "name": "Ann Adler", "email": "ann@example.com"}
    person = Application(provider).signs_in(email=..., name=..., upn="a.adler@corp.example.test", groups=["ml-dev"])
    requester = Requester(actor=Actor(kind="requester", subject="ann@example.com"), declared_by="self")
    assert requesters.judge(person, requester).code == "own_model"
    assert (person.name, person.email) == ("Ann Adler", "ann@example.com")


def test_userinfo_of_another_person_is_not_used_where_the_id_token_has_the_groups(provider: Provider) -> None:
    provider.userinfo = {"sub": "eve", "email": "eve@example.com"}
    person = Application(provider).signs_in(email=..., upn="ann@corp.example.test", groups=["ml-dev"])
    assert person.email == "ann@corp.example.test"


@pytest.mark.parametrize("answer", [(500, {}), (403, {"error": "insufficient_scope"})], ids=["broken", "refused"])
def test_a_userinfo_that_fails_matters_only_where_the_groups_are_missing(
    provider: Provider, answer: tuple[int, dict[str, str]]
) -> None:
    provider.userinfo, provider.answers["/userinfo"] = {}, answer
    application = Application(provider)
    assert application.signs_in(email=..., name=...).groups == {"ml-dev", "ml-auditors"}
    assert provider.asked["/userinfo"] == 1
    with pytest.raises((SignInFailed, ProviderUnavailable), match="identity provider"):
        application.signs_in(groups=...)


def test_an_empty_text_is_no_group(application: Application) -> None:
    person = application.signs_in(groups=" ")
    assert (person.groups, person.groups_brought) == (frozenset(), 0)


@pytest.mark.parametrize("seconds", [1e300, -1e300, 10**18, "soon", True])
def test_a_time_that_is_none_is_not_stored(application: Application, seconds: object) -> None:
    person = application.signs_in(auth_time=seconds)
    assert person.authentication is not None
    assert person.authentication.auth_time is None


def test_a_key_that_nobody_understands_leaves_the_others_good(provider: Provider) -> None:
    rsa, ec = RSA.as_dict(private=False), EC.as_dict(private=False)
    provider.keys = [
        {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "x"},
        {"kty": "EC", "kid": "k1", "crv": "secp256k1", "x": ec["x"], "y": ec["y"]},
        {"kty": "EC", "kid": "broken", "crv": "P-256"},
        {"kty": "RSA", "kid": "half", "e": "AQAB"},
        {"kid": "no type"},
        {"kty": "oct", "kid": "rsa-1", "k": "c2VjcmV0"},
        "no object",
        rsa,
    ]
    assert Application(provider).signs_in().subject == "subject-of-ann"


def test_tokens_signed_with_ed25519_are_taken(provider: Provider) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "ed-1", "use": "sig"})
    provider.keys = [key]
    assert Application(provider).signs_in(key=key, header={"alg": "Ed25519"}).subject == "subject-of-ann"


def test_a_new_key_is_found_at_once_and_a_forged_name_is_looked_for_once(provider: Provider) -> None:
    application = Application(provider)
    application.signs_in()
    provider.keys = [RSA, ROTATED]
    assert application.signs_in(key=ROTATED).subject == "subject-of-ann"
    assert provider.asked["/keys"] == 2
    for _ in range(4):
        with pytest.raises(SignInFailed):
            application.signs_in(key=STRANGER, header={"kid": "made up"})
    assert provider.asked["/keys"] == 3


def test_a_client_id_and_issuer_are_all_that_a_configuration_needs() -> None:
    config = parse(
        '[mail]\nsender = "m@example.com"\n[identity]\nissuer = "https://x"\nclient_id = "c"\n[[environments]]\n'
        'name = "dev"\napprover_group = { id = "g" }\napprovers = ["a@example.com"]\n'
    )
    assert (config.identity.response_mode, config.identity.client_authentication) == ("query", None)
