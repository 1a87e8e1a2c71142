"""A version has one address: other spellings of its number are no version, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import GROUP
from tests.faults.simulation import simulation

OTHERS = ("01", "0", "+1", "-1", "1.0", "1_0", "0x1", "\N{FULLWIDTH DIGIT ONE}", "\N{ARABIC-INDIC DIGIT ONE}", "1" * 10)


@pytest.mark.parametrize("spelling", OTHERS)
def test_another_spelling_of_a_versions_number_is_no_version(tmp_path: Path, spelling: str) -> None:
    with simulation(tmp_path) as service:
        service.register()
        service.settle()
        before = service.story()

        assert "knows no version" not in service.open(f"/models/{GROUP}/versions/1")
        assert "knows no version" in service.open(f"/models/{GROUP}/versions/{spelling}")

        form = {"reason": "Its data may not be used."}
        assert service.post(f"/models/{GROUP}/versions/{spelling}/revoke", form) in (400, 404)
        assert service.story() == before
        assert service.post(f"/models/{GROUP}/versions/1/revoke", form) == 303
