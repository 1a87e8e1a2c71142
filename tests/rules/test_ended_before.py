"""Page and mail of a later request say what happened to the version there before: by whom, when, why."""

from __future__ import annotations

from promotion import names
from promotion.rendering.documents.story import ended_before
from promotion.rendering.mail import letters
from promotion.workflows import decisions
from tests.fakes import ANN, BEN, OPERATOR, House
from tests.rules.markup import Document
from tests.rules.stage import ANN as STAGE_ANN
from tests.rules.stage import Stage, page
from tests.settled import LINKS


def asked_again(house: House, environment: str) -> dict[str, str]:
    """The facts of the mail about a version that is asked for again."""
    decisions.ask_again(house.asked(1, environment), ANN, "The data was cleaned.", world=house.world)
    event = house.events()[-1]
    [letter] = letters(event, view=house.view(), config=house.config, links=LINKS)
    return dict(letter.facts)


def test_a_rejection_is_on_the_mail_of_the_request_after_it() -> None:
    house = House()
    house.register(1)
    house.decide(1, "dev", BEN, names.REJECTED, reason="Biased on names.")
    house.later(hours=2)
    assert (
        asked_again(house, "dev")["Before"] == "rejected by Ben Bauer on Fri 20 Nov 2026, 09:00 UTC: “Biased on names.”"
    )


def test_a_rollback_is_on_the_mail_of_the_request_after_it() -> None:
    house = House()
    house.climb(1, "dev")
    house.climb(2, "dev")
    house.roll_back("dev", to=1, by=OPERATOR)
    decisions.ask_again(house.asked(2, "dev"), ANN, "It is mended.", world=house.world)
    request = house.view().version(2).requests["dev"]
    [ending] = ended_before(request)
    assert (ending["how"], ending["by"]) == ("rolled back after it was live", OPERATOR.label)
    assert ending["reason"] == "It stutters."


def test_every_earlier_request_is_on_the_page_newest_first() -> None:
    house = House()
    house.register(1)
    house.decide(1, "dev", BEN, names.REJECTED, reason="Biased on names.")
    asked_again(house, "dev")
    house.later(hours=73)
    decisions.keep_time(house.view().environment("dev"), world=house.world)
    before = asked_again(house, "dev")["Before"]
    assert before.startswith("expired, nobody decided on ")
    assert before.endswith("; 1 earlier")
    request = house.view().version(1).requests["dev"]
    assert [each["how"] for each in ended_before(request)] == ["expired, nobody decided", "rejected"]


def test_the_page_says_who_rejected_and_why() -> None:
    stage = Stage()
    stage.registers(1)
    stage.decides("dev", 1, names.REJECTED, reason="Biased on names.")
    stage.asks_again("dev", 1, STAGE_ANN, "It is mended.")
    said = Document(page("request", stage.request("dev", 1))).words
    assert "What happened to it here before" in said
    assert "rejected by Ann Adler" in said
    assert "Biased on names." in said
