"""`make accept`: run the whole loop once on what `make deploy` made, and say what holds of what only a live account can show.

python -m tools.accept            # asks before it begins
python -m tools.accept --local    # on a local service of its own, which signs in by itself
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from promotion import names
from promotion.aws.doctor import deployed
from promotion.aws.doctor.findings import Account
from promotion.cli import service
from promotion.config import loading
from promotion.errors import PromotionError
from tools.accept import assumptions, report, steps
from tools.accept.report import Report, Step
from tools.accept.world import PREFIX, Approver, Failed, World

if TYPE_CHECKING:
    from promotion.aws.clients import ClientFor

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "accept"


class Person:
    """A person with a browser, who is asked to click."""

    def ask(self, group: str, version: int, environment: str, page: str) -> None:
        print(
            f"\nNow approve {group} v{version} for {environment}: by the link in the mail, or find it at {page}.\n",
            flush=True,
        )


class LocalPerson:
    """One of the local service's people, who approves by the link in the mail."""

    def __init__(self, url: str, name: str = "ann") -> None:
        self._url = url
        self._name = name

    def ask(self, group: str, version: int, environment: str, page: str) -> None:
        import requests

        from local.http_client import Visitor

        mails = requests.get(f"{self._url}/_local/mailbox.json", timeout=30).json()
        link = next(
            m["links"][0] for m in mails if f"[{environment}]" in m["subject"] and f"{group} v{version}" in m["subject"]
        )
        answer = (
            Visitor(self._url, self._name)
            .sign_in()
            .decide(link, names.APPROVED, "It is the one that make accept made.")
        )
        if answer.status_code != 303:
            raise Failed(f"{self._name} could not approve: {answer.text}", "Look at build/local/logs.")


def accept(world: World, *, clock: Callable[[], float] = time.monotonic) -> Report:
    """All steps until one fails, then the assumptions, and the clean-up in any case."""
    made, failed = Report(), False
    try:
        for name, step in steps.STEPS.items():
            if failed:
                made.steps.append(Step(name, "not tried"))
                continue
            begun = clock()
            try:
                made.steps.append(Step(name, "passed", step(world), seconds=round(clock() - begun, 1)))
            except Failed as error:
                made.steps.append(Step(name, "failed", str(error), error.do, round(clock() - begun, 1)))
            except (ClientError, BotoCoreError, PromotionError, OSError) as error:
                do = "Mend what it names, and run it again."
                made.steps.append(
                    Step(name, "failed", f"{type(error).__name__}: {error}", do, round(clock() - begun, 1))
                )
            failed = made.steps[-1].state == "failed"
            world.say(f"{made.steps[-1].state:<10} {name}: {made.steps[-1].found}")
        made.assumptions = assumptions.look(world)
    finally:
        made.removed, made.stays = steps.clean_up(world)
    return made


def world(approver: Approver, *, patience: float = 1.0, pause_s: float = 5.0) -> World:
    """The deployment that the shell's credentials and configuration lead to.

    Raises:
        PromotionError: there is none, or no configuration.
    """
    session = boto3.Session()

    client = cast("ClientFor", cache(session.client))

    found = service.installation()
    emulated = any(name.startswith("AWS_ENDPOINT_URL") and value for name, value in os.environ.items())
    config = loading.load()
    account = Account(client=client, region=found["region"], prefix=service.prefix(), config=config, service=found)
    return World(
        config=config,
        prefix=service.prefix(),
        installation=found,
        client=client,
        caller=client("sts").get_caller_identity()["Arn"],
        # With capitals: IAM's comparison of names is one of the assumptions.
        group=f"{PREFIX}{datetime.now(UTC):%y%m%d-%H%M%S}-Try",
        approver=approver,
        emulated=emulated,
        public_key=deployed.service_key(account),
        patience=patience,
        pause_s=pause_s,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, run, report; 0 where every step passed and no assumption is known to fail."""
    parser = argparse.ArgumentParser(prog="make accept", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="begin without asking")
    parser.add_argument("--output", type=Path, default=OUT, help="folder for report.json (default: build/accept)")
    parser.add_argument("--local", action="store_true", help="on a local service, which signs in by itself")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        approver: Approver = Person()
        if options.local:
            from local.service import LocalService

            running = stack.enter_context(LocalService())
            os.environ.update(running.environment())
            approver = LocalPerson(running.url)
        try:
            tried = world(approver, pause_s=0.2 if options.local else 5.0)
        except (PromotionError, ClientError, BotoCoreError) as error:
            print(f"accept: {error}\n        Is it deployed here? promotion doctor looks at it.", file=sys.stderr)
            return 2
        print(report.beforehand(tried), flush=True)
        if not (options.yes or options.local) and input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            return 2
        done = accept(tried)
        place = report.write(done, tried, options.output)
    print("\n".join(report.lines(done)))
    print(f"\nPlease send {os.path.relpath(place)} back: it holds neither the account's number nor addresses.")
    return 0 if done.ok else 1


if __name__ == "__main__":
    sys.exit(main())
