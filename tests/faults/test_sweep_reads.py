"""A sweep costs what is open and what was registered lately, not what exists."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import boto3
import time_machine

from lambdas.shared.dependencies import ledger
from promotion import names
from tests.fakes import GROUP
from tests.faults import resources
from tests.faults.simulation import BEGINNING, simulation

LATER = BEGINNING + timedelta(days=20)


def calls_of_a_sweep(folder: Path, closed: int) -> Counter[str]:
    """Return a sweep's calls with one open request, beside groups whose requests expired weeks ago."""
    folder.mkdir()
    with simulation(folder) as service:
        for number in range(closed):
            with service.without_faults():
                boto3.client("sagemaker").create_model_package_group(ModelPackageGroupName=f"closed-{number}")
            service.register(group=f"closed-{number}")
        service.settle()
        with time_machine.travel(BEGINNING + timedelta(days=4), tick=True):
            service.sweep()
        with time_machine.travel(LATER, tick=True):
            service.register()
            service.settle()
            service.calls.clear()
            service.sweep()
            with service.without_faults():
                open_ = [(state.group, state.pending) for state in ledger().open_environments()]
            assert open_ == [(GROUP, 1)]
            assert len(service.story()) >= 2
        return Counter(service.calls)


def test_its_calls_do_not_grow_with_what_is_closed(tmp_path: Path) -> None:
    few, many = calls_of_a_sweep(tmp_path / "few", 1), calls_of_a_sweep(tmp_path / "many", 5)
    assert few == many
    assert sum(few.values()) < 12


def test_once_a_day_all_states_are_read_whatever_the_index_says(tmp_path: Path) -> None:
    """A ledger of an earlier release has no open groups in its index yet."""
    with simulation(tmp_path) as service:
        service.register()
        service.settle()
        table = boto3.resource("dynamodb").Table("ledger")
        with service.without_faults():
            table.update_item(Key={"pk": f"GROUP#{GROUP}", "sk": "HEAD"}, UpdateExpression="REMOVE board_pk, board_sk")
        expired = BEGINNING + timedelta(days=4)
        with time_machine.travel(expired, tick=True):
            service.sweep()
        assert names.REQUEST_EXPIRED not in [kind for kind, *_ in service.story()]
        with time_machine.travel(expired.replace(hour=0, minute=1), tick=True):
            service.sweep()
        assert names.REQUEST_EXPIRED in [kind for kind, *_ in service.story()]


def test_a_decided_group_is_open_no_more(tmp_path: Path) -> None:
    with simulation(tmp_path) as service:
        service.register()
        service.settle()
        assert service.decide(1, "dev") == 303
        service.settle()
        with service.without_faults():
            assert list(ledger().open_environments()) == []
        service.measure(1, "dev")
        service.settle()
        with service.without_faults():
            assert [(state.name, state.pending) for state in ledger().open_environments()] == [("test", 1)]


def test_a_reminder_comes_at_half_of_the_time_outside_of_a_freeze(tmp_path: Path) -> None:
    """The freeze is in the second half, so that half of all the time is later."""
    begins, ends = BEGINNING + timedelta(hours=50), BEGINNING + timedelta(hours=98)
    with simulation(tmp_path) as service:
        with (tmp_path / names.CONFIG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"[[freeze]]\nstart = {begins.isoformat()}\nend = {ends.isoformat()}\n")
        resources.forget()
        service.register()
        service.settle()
        reminded = []
        for hours in (35, 37):
            with time_machine.travel(BEGINNING + timedelta(hours=hours), tick=True):
                service.sweep()
            reminded.append(names.APPROVER_REMINDED in [kind for kind, *_ in service.story()])
        assert reminded == [False, True]
