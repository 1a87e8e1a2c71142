"""`promotion doctor --sign-in`: a test sign-in with the configured provider, and the claims of its token."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from promotion.aws.doctor.findings import Account, Finding, fail, not_checked, ok, warn
from promotion.aws.identity import IdentityProvider
from promotion.aws.identity.claims import groups_in, person_of
from promotion.aws.keys import Secrets
from promotion.config.identity import groups as groups_of
from promotion.config.loading import Config
from promotion.domain import policy, signing
from promotion.domain.people import Person
from promotion.domain.same_person import has_address
from promotion.errors import ProviderUnavailable, SignInFailed, require
from promotion.formatting import listed, one_line

VARIABLE = "IDP_CLIENT_SECRET"
MOST_SHOWN = 20
_LOCAL_CALLBACK = "http://127.0.0.1:8000/callback"


def ask(account: Account, *, callback: str | None, read_line: Callable[[], str] = sys.stdin.readline) -> list[Finding]:
    """Have a person sign in with a browser and paste the redirect's address; return findings about the claims.

    The address contains only an authorization code. It is redeemed here, so that the service makes no session from it.
    """
    config = account.settings
    # The address bar shows a code only in the query, so this sign-in always uses that response mode.
    shown = replace(config, identity=replace(config.identity, response_mode="query"))
    redirect = callback or _callback(account)
    provider = IdentityProvider(shown, _secret(account), redirect)
    try:
        address, sign_in = provider.begin("/", now=datetime.now(UTC))
        print(
            f"Open this in a browser and sign in:\n\n{address}\n\nYou come back to {redirect}, where a page may say that you "
            "are not signed in, or none appears. Paste the address that the browser then shows:",
            file=sys.stderr,
        )
        said = {name: values[0] for name, values in parse_qs(urlsplit(read_line().strip()).query).items()}
        if "code" not in said:
            reason = " ".join(said[name] for name in ("error", "error_description") if name in said)
            return [_failed(one_line(reason, 400) or "no code is in that address.")]
        claims = provider.claims_for(said["code"], sign_in, now=datetime.now(UTC))
    except (SignInFailed, ProviderUnavailable) as error:
        return [_failed(str(error))]
    return list(brought(claims, config))


def brought(claims: Mapping[str, object], config: Config) -> Iterator[Finding]:
    """Report the content of verified claims: groups, person, names, and the method of authentication."""
    yield ok("sign-in: claims", f"{listed(sorted(claims))}.")
    known = policy.known_groups(config)
    try:
        person = person_of(claims, config.identity, known)
        groups = groups_in(claims, config.identity, known)
    except SignInFailed as error:
        yield _failed(str(error))
        return
    yield _groups(groups, person, config)
    yield from _names(person)
    yield from _strength(person, config)


def _groups(groups: list[str], person: Person, config: Config) -> Finding:
    named = dict.fromkeys(f"{group.label} ({group.id})" for _, group in groups_of(config))
    shown = listed([one_line(group, 120) for group in groups[:MOST_SHOWN]]) or "none"
    more = f" and {len(groups) - MOST_SHOWN} more" if len(groups) > MOST_SHOWN else ""
    said = f"{len(groups)} came in “{config.identity.groups_claim}”: {shown}{more}."
    if person.groups:
        return ok("sign-in: groups", f"{said} Of these the configuration knows {listed(sorted(person.groups))}.")
    alike = _alike(groups, (group.id for _, group in groups_of(config)))
    do = f"Wanted are {listed(list(named))}, as the token has to spell them."
    return fail("sign-in: groups", f"{said} The configuration knows none of them.{alike}", do)


def _alike(groups: Iterable[str], wanted: Iterable[str]) -> str:
    """Return a hint about ids that differ from a wanted one only by case, domain, path or distinguished name."""
    names = {_bare(each): each for each in wanted}
    pairs = ((group, names[_bare(group)]) for group in groups if _bare(group) in names)
    found = next(pairs, None)
    return f" “{one_line(found[0], 120)}” looks like “{one_line(found[1], 120)}”, and isn't the same." if found else ""


def _bare(group: str) -> str:
    text = unicodedata.normalize("NFKC", group).casefold().strip()
    if text.startswith("cn="):
        text = text.removeprefix("cn=").partition(",")[0]
    return text.rpartition("\\")[2].rpartition("/")[2]


def _names(person: Person) -> Iterator[Finding]:
    names = person.as_actor().all_names
    shown = listed([one_line(name, 120) for name in names])
    if has_address(names):
        yield ok("sign-in: person", f"shown as {one_line(person.name, 120)}; compared with requesters as {shown}.")
    else:
        do = "Have the provider send email or upn: nobody approves a model whose requester is known by an address without one."
        yield warn("sign-in: person", f"no address came, only {shown}.", do)


def _strength(person: Person, config: Config) -> Iterator[Finding]:
    how = require(person.authentication, "the sign-in", "authentication")
    at = f"{how.auth_time:%Y-%m-%d %H:%M:%S} UTC" if how.auth_time else "not said"
    yield ok("sign-in: how", f"auth_time {at}; acr {how.acr or 'none'}; amr {listed(list(how.amr)) or 'none'}.")
    for rules in config.environments:
        wanted = signing.required_of(rules)
        if wanted.reauthenticate and how.auth_time is None:
            do = "Have the provider send auth_time, or take reauthenticate and signature away."
            yield fail(
                "sign-in: how", f"{rules.name} wants credentials to be entered again, and no auth_time came.", do
            )
        if wanted.acr_values and not {how.acr, *how.amr} & set(wanted.acr_values):
            said = f"{rules.name} wants {listed(list(wanted.acr_values), 'or')}, which this sign-in hasn't; it wasn't asked for."
            yield not_checked("sign-in: how", said)


def _failed(why: str) -> Finding:
    return fail("sign-in", why, "docs/identity.md has the settings of each provider, and what goes wrong.")


def _callback(account: Account) -> str:
    """Return the redirect URI of the deployment, else that of `make local`."""
    if account.service is None:
        return _LOCAL_CALLBACK
    return f"{account.deployed['api_url']}/callback"


def _secret(account: Account) -> str:
    """Return the client secret from the environment variable, else of the deployment; empty for a public client."""
    if VARIABLE in os.environ or account.service is None:
        return os.environ.get(VARIABLE, "")
    return Secrets(account.client("secretsmanager")).client_secret(account.deployed["identity_secret_arn"])
