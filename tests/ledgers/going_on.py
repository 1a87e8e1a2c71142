"""Promote one version more on a ledger that another release may have written.

A program of its own, so that a test can run it with other code: `python -m tests.ledgers.going_on BEFORE AFTER VERSION`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import GROUP, FakeService
from tests.ledgers.reading import house_of


@dataclass(frozen=True)
class State:
    """All that an installation keeps, its signing key too."""

    document: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write it where `house_of` reads it."""
        folder.mkdir()
        (folder / "ledger.json").write_text(json.dumps(self.document), encoding="utf-8")


def state_of(fake: FakeService) -> State:
    """Return the state that a later step continues from."""
    return State({
        "items": {f"{group} {key}": item.decode() for (group, key), item in sorted(fake.ledger.items.items())},
        "parameters": fake.ssm.values,
        "registry": fake.sagemaker.packages,
        "heads": {group: fake.ledger.head(group).hash for group in fake.ledger.groups()},
        "key_id": fake.signer.key_id,
        "public_key": fake.signer.public_key,
        "secret": fake.signer.secret,
    })  # fmt: skip


def go_on(before: Path, after: Path, version: int) -> None:
    """Promote `version` into every environment, and project."""
    fake, _ = house_of(before)
    fake.later(days=version)
    fake.promote(version)
    fake.project(GROUP)
    state_of(fake).write(after)


if __name__ == "__main__":
    go_on(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
