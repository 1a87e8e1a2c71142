"""Each attack ends with its code, and nothing is written: not in the ledger, not in the registry, not in Parameter Store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lambdas.shared.http_app import SECURITY_HEADERS
from tests.security.attacked import Attacked
from tests.security.attacks import ATTACKS
from tests.security.attempts import Attack

# What most of them are about; of the others the ledger's heads are looked at each time, and the rest at the end.
ABOUT = ("open", "two", "shut", "quorum")


@pytest.fixture(scope="module")
def before(attacked: Attacked) -> Iterator[str]:
    """The state before the first attack; it must be the same after each of them."""
    everything = attacked.state()
    yield attacked.state(*ABOUT)
    assert attacked.state() == everything


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_it_is_refused_and_writes_nothing(attacked: Attacked, before: str, attack: Attack) -> None:
    answer = attack.attempt(attacked)
    assert answer.status == attack.status, answer.text
    assert attacked.state(*ABOUT) == before
    if not attack.by_gateway:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get(name.lower()) == value, name


def test_there_are_enough_of_them() -> None:
    assert len(ATTACKS) >= 60
