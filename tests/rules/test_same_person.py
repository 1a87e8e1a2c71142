"""The requester's identity: every spelling of one person's name, and those of others."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from promotion.domain import requesters
from promotion.domain.people import Actor, Authentication, Person, Requester

ANN = Person(
    subject="b0c4-opaque",
    name="Ann Adler",
    email="ann@example.com",
    authentication=Authentication(
        issuer="https://login.example.com",
        subject="b0c4-opaque",
        names={
            "email": "ann@example.com",
            "upn": "a.adler@corp.example.test",
            "unique_name": "CORP\\aadler",
            "oid": "11111111-2222-4333-8444-555555555555",
            "preferred_username": "a.adler@corp.example.test",
            "name": "Ann Adler",
        },
    ),
)
JOERG = Person(
    subject="j-opaque",
    name="Jörg Müller-Lüdenscheidt",
    email="joerg.mueller@example.com",
    authentication=Authentication(
        issuer="https://login.example.com", subject="j-opaque", names={"upn": "jörg.müller@corp.example.test"}
    ),
)


def requester(name: str, *also: str) -> Requester:
    return Requester(
        actor=Actor(kind="requester", subject=name, name=name, email=name if "@" in name else ""),
        declared_by="self",
        also=also,
    )


@pytest.mark.parametrize(
    "spelling",
    [
        "ann@example.com",
        "ANN@Example.COM",
        "ann",
        "ann+ml@example.com",
        "mailto:ann@example.com",
        "MAILTO:Ann@example.com",
        "Ann ann@example.com",
        "Ann Adler <ann@example.com>",
        '"Adler, Ann" <ann@example.com>',
        "Ann Adler",
        "ann  adler",
        "a.adler@corp.example.test",
        "A.Adler@CORP.example.test",
        "a.adler",
        "a-adler",
        "a-adler-corp-example-test",
        "ann-example-com",
        "CORP\\aadler",
        "corp\\AAdler",
        "OTHER\\aadler",
        "aadler",
        "b0c4-opaque",
        "11111111-2222-4333-8444-555555555555",
        "arn:aws:iam::123456789012:user/team/aadler",
        "arn:aws:sts::123456789012:assumed-role/Scientist/ann@example.com",
        "\uff41\uff4e\uff4e@example.com",
        "ann@example.com.",
        "ann\u200b@example.com",
        " ann@example.com ",
    ],
)
def test_an_honest_spelling_of_ones_name_is_ones_own(spelling: str) -> None:
    assert requesters.judge(ANN, requester(spelling)).code == "own_model"


@pytest.mark.parametrize(
    "spelling",
    ["jörg.müller@corp.example.test", "jo\u0308rg.mu\u0308ller@corp.example.test", "joerg-mueller", "jorg.muller"],
)
def test_umlauts_are_compared_composed_decomposed_written_out_and_left_out(spelling: str) -> None:
    assert requesters.judge(JOERG, requester(spelling)).code == "own_model"


@pytest.mark.parametrize(
    "spelling",
    ["ben@example.com", "ann@other.example", "anna@example.com", "Ben", "CORP\\ben", "dee", "adler@example.com", "an"],
)
def test_somebody_elses_name_is_not_ones_own(spelling: str) -> None:
    assert requesters.judge(ANN, requester(spelling)).code == ""


def test_the_refusal_names_the_two_names_taken_for_one_and_what_settles_it() -> None:
    judged = requesters.judge(ANN, requester("a-adler"))
    assert "“a-adler” and “a.adler@corp.example.test”" in judged.why_not
    assert "[advanced.identity.requesters]" in judged.why_not


def test_a_profile_and_a_declared_name_both_count() -> None:
    assert requesters.judge(ANN, requester("studio-7", "ann@example.com")).code == "own_model"
    assert requesters.judge(ANN, requester("ann", "somebody@example.com")).code == "own_model"
    assert requesters.judge(ANN, requester("studio-7", "somebody@example.com")).code == ""


def test_without_an_address_of_ones_own_a_requester_known_by_address_is_unknown() -> None:
    bare = Person(subject="opaque", name="Ann")
    judged = requesters.judge(bare, requester("dee@example.com"))
    assert judged.code == "requester_unknown"
    assert "dee@example.com" in judged.why_not
    assert "[advanced.identity.requesters]" in judged.remedy
    assert requesters.judge(bare, requester("dee")).code == ""


@pytest.mark.parametrize("nobody", ["---", "arn:aws:iam::123456789012:role/Scientist", "\u200b"])
def test_an_empty_name_is_unknown(nobody: str) -> None:
    assert requesters.judge(ANN, requester(nobody)).code == "requester_unknown"


def test_a_mapping_settles_namesakes_both_ways() -> None:
    def mapped(name: str, to: str) -> Requester:
        actor = Actor(kind="requester", subject=to, name=name, email=to if "@" in to else "")
        return Requester(actor=actor, declared_by="identity")

    assert requesters.judge(ANN, mapped("ann", "ann.other@example.com")).code == ""
    assert requesters.judge(ANN, mapped("Ann Adler", "a-subject")).code == ""
    assert requesters.judge(ANN, mapped("studio-7", "ANN@example.com")).code == "own_model"
    assert requesters.judge(ANN, mapped("studio-7", "b0c4-opaque")).code == "own_model"
    bare = Person(subject="opaque", name="Ann")
    assert requesters.judge(bare, mapped("studio-7", "dee@example.com")).code == "requester_unknown"


def test_rights_are_given_on_an_exact_match_alone() -> None:
    assert requesters.is_exactly(ANN, requester("Ann@example.com"))
    assert requesters.is_exactly(ANN, requester("b0c4-opaque"))
    for loose in ("ann", "Ann Adler", "ann+ml@example.com", "CORP\\aadler"):
        assert not requesters.is_exactly(ANN, requester(loose))


def test_a_vote_under_another_name_of_ones_own_is_the_same_persons() -> None:
    other_provider = replace(ANN, subject="another", email="", authentication=None, name="A. A.")
    by_upn = replace(other_provider, email="a.adler@corp.example.test")
    assert ANN.as_actor().is_also(by_upn.as_actor())
    assert by_upn.as_actor().is_also(ANN.as_actor())


def test_two_voters_may_share_a_displayed_name() -> None:
    namesake = Person(subject="n-opaque", name="Ann Adler", email="ann.adler2@example.com")
    assert not ANN.as_actor().is_also(namesake.as_actor())


def test_nobody_in_particular_registered_nothing() -> None:
    assert requesters.judge(Person(subject="", name=""), requester("dee@example.com")).code == ""
