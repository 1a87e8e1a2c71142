"""Read a recorded ledger with the release that is on the path, and say all that it comes to.

A program of its own, so that a test can run it with other code: `python -m tests.ledgers.reading FOLDER` prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from promotion.client.live_record import live_model, parse_live, signed_bytes
from promotion.client.signature import holds, public_keys
from promotion.config.loading import parse
from promotion.errors import NotApproved
from promotion.ledger import decision_export
from promotion.ledger.events import check_chain
from promotion.ledger.verify import Anchor
from promotion.rendering.sentences import sentence
from tests.fakes import CONFIG_TEXT, FakeService
from tests.memory import LocalSigner


def house_of(folder: Path) -> tuple[FakeService, dict[str, Any]]:
    """The installation as it was recorded, without its signing key, and the recording."""
    recorded = json.loads((folder / "ledger.json").read_text(encoding="utf-8"))
    fake = FakeService(parse(CONFIG_TEXT))
    for key, item in recorded["items"].items():
        group, _, sort = key.partition(" ")
        fake.ledger.items[group, sort] = item.encode()
    fake.ssm.values, fake.sagemaker.packages = recorded["parameters"], recorded["registry"]
    if "secret" in recorded:
        # A ledger in the middle of a test; of a release's recording the key was thrown away.
        fake.signer = LocalSigner(recorded["key_id"], recorded["secret"])
    fake.signer.key_id, fake.signer.public_key = recorded["key_id"], recorded["public_key"]
    for group in recorded["heads"]:
        for target in fake.targets:
            fake.cursors.advance(group, target, fake.ledger.head(group).sequence)
    return fake, recorded


def report(folder: Path) -> dict[str, Any]:
    """Return this release's report on a recording."""
    fake, recorded = house_of(folder)
    found: dict[str, Any] = {"lines": [], "hashes": [], "digests": [], "told": [], "live": [], "decisions": {}}
    for group, head in recorded["heads"].items():
        fake.anchors = [Anchor(name=group, sequence=fake.ledger.head(group).sequence, hash=head)]
        events = fake.events(group)
        check_chain(events, fake.ledger.head(group))
        found["lines"] += fake.lines(group)
        found["hashes"] += [event.computed_hash() for event in events]
        found["digests"] += [event.part_digest("evidence") for event in events]
        found["told"] += [sentence(event) for event in events]
    for name, value in recorded["parameters"].items():
        if name.endswith("/live"):
            group, environment = name.split("/")[2:4]
            record = parse_live(value, group=group, environment=environment)
            assert holds(public_keys(recorded["public_key"]), signed_bytes(record), record["signature"])
            try:
                found["live"].append([name, live_model(record).model_package_version])
            except NotApproved:
                found["live"].append([name, None])
    for path in sorted(folder.glob("*.decision.json")):
        kept = decision_export.read(path.read_bytes())
        again = decision_export.bundle(kept.request_id, fake.events(kept.request_id.partition(":")[0]))
        assert (again.events, again.policy) == (kept.events, kept.policy), kept.request_id
        found["decisions"][kept.request_id] = decision_export.problems(kept, fake.signer.holds)
    found["policy"] = fake.config.policy_digest()
    return found


if __name__ == "__main__":
    print(json.dumps(report(Path(sys.argv[1]))))
