"""The adversarial cases: each attempt with the status code that it has to end with. None of them may change anything.

tests/security/test_attacks.py runs them one by one, benchmarks/approver.py counts them.
"""

from __future__ import annotations

from tests.security import attacks_by_forms, attacks_by_people, attacks_on_entrances

ATTACKS = [*attacks_by_people.ATTACKS, *attacks_by_forms.ATTACKS, *attacks_on_entrances.ATTACKS]
assert len({attack.name for attack in ATTACKS}) == len(ATTACKS), "each attack has a name of its own"
