"""Page and mail of a later request say what happened to the version there before: by whom, when, why."""

from __future__ import annotations

from promotion import names
from promotion.rendering.documents.story import ended_before
from promotion.rendering.mail import letters
from promotion.workflows import decisions
from tests.fakes import ANN, BEN, OPERATOR, FakeService
from tests.rules.markup import Document
from tests.rules.scenario import ANN as STAGE_ANN
from tests.rules.scenario import Scenario, page
from tests.settled import LINKS


def asked_again(fake: FakeService, environment: str) -> dict[str, str]:
    """The facts of the mail about a version that is asked for again."""
    decisions.ask_again(fake.asked(1, environment), ANN, "The data was cleaned.", context=fake.context)
    event = fake.events()[-1]
    [letter] = letters(event, view=fake.view(), config=fake.config, links=LINKS)
    return dict(letter.facts)


def test_a_rejection_is_on_the_mail_of_the_request_after_it() -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", BEN, names.REJECTED, reason="Biased on names.")
    fake.later(hours=2)
    assert (
        asked_again(fake, "dev")["Before"] == "rejected by Ben Bauer on Fri 20 Nov 2026, 09:00 UTC: “Biased on names.”"
    )


def test_a_rollback_is_on_the_mail_of_the_request_after_it() -> None:
    fake = FakeService()
    fake.promote(1, "dev")
    fake.promote(2, "dev")
    fake.roll_back("dev", to=1, by=OPERATOR)
    decisions.ask_again(fake.asked(2, "dev"), ANN, "It is mended.", context=fake.context)
    request = fake.view().version(2).requests["dev"]
    [ending] = ended_before(request)
    assert (ending["how"], ending["by"]) == ("rolled back after it was live", OPERATOR.label)
    assert ending["reason"] == "It stutters."


def test_every_earlier_request_is_on_the_page_newest_first() -> None:
    fake = FakeService()
    fake.register(1)
    fake.decide(1, "dev", BEN, names.REJECTED, reason="Biased on names.")
    asked_again(fake, "dev")
    fake.later(hours=73)
    decisions.keep_time(fake.view().environment("dev"), context=fake.context)
    before = asked_again(fake, "dev")["Before"]
    assert before.startswith("expired, nobody decided on ")
    assert before.endswith("; 1 earlier")
    request = fake.view().version(1).requests["dev"]
    assert [each["how"] for each in ended_before(request)] == ["expired, nobody decided", "rejected"]


def test_the_page_says_who_rejected_and_why() -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.decides("dev", 1, names.REJECTED, reason="Biased on names.")
    scenario.asks_again("dev", 1, STAGE_ANN, "It is mended.")
    said = Document(page("request", scenario.request("dev", 1))).words
    assert "What happened to it here before" in said
    assert "rejected by Ann Adler" in said
    assert "Biased on names." in said
