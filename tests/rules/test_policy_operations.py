"""Permission to ask again, and to operate."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.domain.people import Person
from promotion.domain.request_ids import request_id
from promotion.errors import AlreadyDecided, Refused
from promotion.workflows import decisions, operations
from tests.rules.policy_people import BEN, DEE_SIGNED_IN, EVE, registered_stage
from tests.rules.scenario import ANN, AUD, CHO, GIL, GROUP, Scenario


class TestAskingAgain:
    def rejected(self) -> Scenario:
        scenario = registered_stage()
        scenario.decides("dev", 1, "Rejected")
        return scenario

    def ask(self, scenario: Scenario, person: Person) -> None:
        decisions.ask_again(
            request_id(GROUP, 1, "dev", 1), person, "Trained on the mended data.", context=scenario.context
        )

    def test_after_a_rejection_with_what_has_changed(self) -> None:
        scenario = self.rejected()
        self.ask(scenario, BEN)
        request = scenario.view.version(1).requests["dev"]
        assert (request.attempt, request.state) == (2, "Pending")
        assert "Trained on the mended data." in scenario.mails(names.APPROVAL_REQUESTED)[-1].text

    def test_the_requester_may(self) -> None:
        scenario = self.rejected()
        self.ask(scenario, replace(DEE_SIGNED_IN, groups=frozenset()))
        assert scenario.view.version(1).requests["dev"].attempt == 2

    @pytest.mark.parametrize("person", [CHO, AUD, GIL, EVE], ids=lambda person: person.subject)
    def test_others_may_not(self, person: Person) -> None:
        scenario = self.rejected()
        with pytest.raises(Refused, match="Only the requester and the approvers"):
            self.ask(scenario, person)
        assert scenario.view.version(1).requests["dev"].attempt == 1

    def test_not_while_it_is_open_or_once_it_is_approved(self) -> None:
        scenario = registered_stage()
        with pytest.raises(AlreadyDecided):
            self.ask(scenario, ANN)
        scenario.decides("dev", 1)
        with pytest.raises(AlreadyDecided):
            self.ask(scenario, ANN)

    def test_the_old_link_decides_nothing_any_more(self) -> None:
        scenario = self.rejected()
        self.ask(scenario, ANN)
        with pytest.raises(AlreadyDecided, match="newer request"):
            decisions.record_decision(request_id(GROUP, 1, "dev", 1), ANN, "Approved", "Now.", context=scenario.context)

    def test_not_without_saying_what_has_changed(self) -> None:
        scenario = self.rejected()
        with pytest.raises(Exception, match="say why"):
            decisions.ask_again(request_id(GROUP, 1, "dev", 1), ANN, "  ", context=scenario.context)


class TestOperations:
    @pytest.mark.parametrize("person", [AUD, EVE, GIL], ids=lambda person: person.subject)
    def test_only_approvers_roll_back_and_revoke(self, person: Person) -> None:
        scenario = Scenario()
        for version in (1, 2):
            scenario.registers(version)
            scenario.decides("dev", version)
        before = len(scenario.events)
        with pytest.raises(Refused):
            scenario.rolls_back("dev", by=person)
        with pytest.raises(Refused):
            scenario.revokes(1, by=person)
        assert len(scenario.events) == before

    def test_an_approver_of_another_environment_does_not_roll_back(self) -> None:
        scenario = Scenario()
        for version in (1, 2):
            scenario.registers(version)
            scenario.decides("dev", version)
        with pytest.raises(Refused):
            scenario.rolls_back("dev", by=CHO)

    def test_the_service_itself_undoes_nothing(self) -> None:
        scenario = registered_stage()
        scenario.decides("dev", 1)
        from promotion.domain.people import SYSTEM

        with pytest.raises(Refused):
            operations.revoke(GROUP, 1, SYSTEM, "Why not.", context=scenario.context)
