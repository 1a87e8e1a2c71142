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
from tests.rules.stage import ANN, AUD, CHO, GIL, GROUP, Stage


class TestAskingAgain:
    def rejected(self) -> Stage:
        stage = registered_stage()
        stage.decides("dev", 1, "Rejected")
        return stage

    def ask(self, stage: Stage, person: Person) -> None:
        decisions.ask_again(request_id(GROUP, 1, "dev", 1), person, "Trained on the mended data.", world=stage.world)

    def test_after_a_rejection_with_what_has_changed(self) -> None:
        stage = self.rejected()
        self.ask(stage, BEN)
        request = stage.view.version(1).requests["dev"]
        assert (request.attempt, request.state) == (2, "Pending")
        assert "Trained on the mended data." in stage.mails(names.APPROVAL_REQUESTED)[-1].text

    def test_the_requester_may(self) -> None:
        stage = self.rejected()
        self.ask(stage, replace(DEE_SIGNED_IN, groups=frozenset()))
        assert stage.view.version(1).requests["dev"].attempt == 2

    @pytest.mark.parametrize("person", [CHO, AUD, GIL, EVE], ids=lambda person: person.subject)
    def test_others_may_not(self, person: Person) -> None:
        stage = self.rejected()
        with pytest.raises(Refused, match="Only the requester and the approvers"):
            self.ask(stage, person)
        assert stage.view.version(1).requests["dev"].attempt == 1

    def test_not_while_it_is_open_or_once_it_is_approved(self) -> None:
        stage = registered_stage()
        with pytest.raises(AlreadyDecided):
            self.ask(stage, ANN)
        stage.decides("dev", 1)
        with pytest.raises(AlreadyDecided):
            self.ask(stage, ANN)

    def test_the_old_link_decides_nothing_any_more(self) -> None:
        stage = self.rejected()
        self.ask(stage, ANN)
        with pytest.raises(AlreadyDecided, match="newer request"):
            decisions.record_decision(request_id(GROUP, 1, "dev", 1), ANN, "Approved", "Now.", world=stage.world)

    def test_not_without_saying_what_has_changed(self) -> None:
        stage = self.rejected()
        with pytest.raises(Exception, match="say why"):
            decisions.ask_again(request_id(GROUP, 1, "dev", 1), ANN, "  ", world=stage.world)


class TestOperations:
    @pytest.mark.parametrize("person", [AUD, EVE, GIL], ids=lambda person: person.subject)
    def test_only_approvers_roll_back_and_revoke(self, person: Person) -> None:
        stage = Stage()
        for version in (1, 2):
            stage.registers(version)
            stage.decides("dev", version)
        before = len(stage.events)
        with pytest.raises(Refused):
            stage.rolls_back("dev", by=person)
        with pytest.raises(Refused):
            stage.revokes(1, by=person)
        assert len(stage.events) == before

    def test_an_approver_of_another_environment_does_not_roll_back(self) -> None:
        stage = Stage()
        for version in (1, 2):
            stage.registers(version)
            stage.decides("dev", version)
        with pytest.raises(Refused):
            stage.rolls_back("dev", by=CHO)

    def test_the_service_itself_undoes_nothing(self) -> None:
        stage = registered_stage()
        stage.decides("dev", 1)
        from promotion.domain.people import SYSTEM

        with pytest.raises(Refused):
            operations.revoke(GROUP, 1, SYSTEM, "Why not.", world=stage.world)
