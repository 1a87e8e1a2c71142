"""Doctor checks of an upgrade: what the next deployment changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from promotion import names
from promotion.aws.doctor.findings import Account, Finding, not_checked, ok, warn
from promotion.aws.ledger_table.ledger import DynamoLedger
from promotion.domain.model import FOLD_VERSION
from promotion.formatting import counted, listed


def release(account: Account) -> Iterator[Finding]:
    """Compare the deployed release with the command's own."""
    deployed = account.deployed.get("release")
    if deployed is None:
        yield not_checked("release", "this deployment doesn't say which it is.", "Deploy again.")
    elif deployed != names.RELEASE:
        do = "Read UPGRADING.md, then `npx cdk diff`; what is kept stays the same resource."
        yield warn("release", f"deployed is {deployed}, this is {names.RELEASE}.", do)
    else:
        yield ok("release", f"deployed is {deployed}, as this command.")


def states(account: Account) -> Iterator[Finding]:
    """Count the stored states that another version of the event fold wrote; each is folded again when it is read."""
    ledger = DynamoLedger(account.client("dynamodb"), account.deployed["ledger_table"])
    folds = Counter(state.fold for state in ledger.environments())
    others = sorted(folds.keys() - {FOLD_VERSION})
    if not others:
        yield ok("states", f"{counted(folds.total(), 'environment state')}, all of fold {FOLD_VERSION}.")
        return
    total = sum(folds[fold] for fold in others)
    yield Finding(
        check="states",
        state="ok",
        found=f"{counted(total, 'environment state')} of fold {listed([str(fold) for fold in others])}, and this release "
        f"folds {FOLD_VERSION}: folded again from the events when read.",
        do="No haste: `promotion rebuild --states` writes them anew once every function is of this release.",
    )
