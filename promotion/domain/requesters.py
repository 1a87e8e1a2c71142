"""Match a signed-in person with a model's requester; a doubtful or unknown match is refused."""

from __future__ import annotations

from msgspec import Struct

from promotion.domain.people import Person, Requester
from promotion.domain.same_person import find_match, has_address, spellings
from promotion.formatting import one_line


class Judged(Struct, frozen=True, kw_only=True):
    """Reason why a person may not approve because of the requester; an empty code if there is none."""

    code: str = ""
    why_not: str = ""
    remedy: str = ""


def judge(person: Person, requester: Requester) -> Judged:
    """Hold every name of a person against every name of the requester.

    A person without a subject is nobody in particular, and has registered nothing.
    """
    if not person.subject:
        return Judged()
    theirs, mapped = names_of(requester)
    mine = person.as_actor().all_names
    if mapped:
        exact = {name.strip().casefold() for name in theirs} & {name.strip().casefold() for name in mine}
        match = (min(exact), min(exact)) if exact else None
    else:
        found = find_match(theirs, mine)
        match = (found.one, found.other) if found else None
    if match is not None:
        return Judged(code="own_model", why_not=_own(*match))
    if not mapped and not any(spellings(name) for name in theirs):
        return Judged(
            code="requester_unknown",
            why_not=f"This model's requester, “{one_line(requester.actor.subject, 120)}”, is no name of a person.",
            remedy="Register it again with metadata requested_by, or map the name under [advanced.identity.requesters].",
        )
    if has_address(theirs) and not has_address(mine):
        known = one_line(next(name for name in theirs if has_address([name])), 120)
        return Judged(
            code="requester_unknown",
            why_not=f"This model's requester is known as “{known}”, and your sign-in brought no address to tell you apart by.",
            remedy="Have the identity provider send email or upn, or name the requester's subject under "
            "[advanced.identity.requesters].",
        )
    return Judged()


def is_exactly(person: Person, requester: Requester) -> bool:
    """Return True if a person is certainly the requester, for rights that only the requester has.

    By the subject, or by an address that the provider vouches for; letters' case aside.
    """
    sure = {person.subject, person.email.casefold()} - {""}
    actor = requester.actor
    return actor.subject in sure or (bool(actor.email) and actor.email.casefold() in sure)


def names_of(requester: Requester) -> tuple[tuple[str, ...], bool]:
    """Return all names of a requester, and True if `[advanced.identity.requesters]` alone determines them."""
    actor = requester.actor
    if actor.name and actor.name != actor.subject and actor.kind == "requester":
        return (actor.subject,), True
    return tuple(dict.fromkeys(name for name in (*actor.all_names, *requester.also) if name)), False


def _own(requester: str, person: str) -> str:
    one, other = one_line(requester, 120), one_line(person, 120)
    if one == other:
        return f"You registered this model, as “{one}”; somebody else has to approve it."
    return (
        f"You registered this model: its requester “{one}” and “{other}” of your sign-in are taken for one person; somebody "
        "else has to approve it. If they are two people, [advanced.identity.requesters] settles it."
    )
