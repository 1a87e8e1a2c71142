"""`promotion diff`, `open` and `notify`: two versions side by side, the address of a page, and a test message to each channel."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from promotion.errors import Invalid, PromotionError
from promotion.formatting import number, one_line
from promotion.rendering.documents.rows import MetricDocument

if TYPE_CHECKING:
    from promotion.domain.model import VersionState

TEST_KIND = "Test"


class Command(Protocol):
    """A function that adds a subcommand to the parser."""

    def __call__(self, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        """Add the subcommand, with the options of every command."""


def add(command: Command, version: Callable[[str], int]) -> None:
    """Add the commands of this module to the parser."""
    found = command("diff", _diff, "compare two versions: metrics from each place, and the packages")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("one", type=version, metavar="VERSION")
    found.add_argument("other", type=version, metavar="OTHER")

    found = command("open", _open, "print the address of a model's or a version's page")
    found.add_argument("group", metavar="GROUP")
    found.add_argument("version", type=version, metavar="VERSION", nargs="?")

    found = command("notify", _notify, "send a test message to the channels of the configuration")
    found.add_argument("channel", metavar="CHANNEL", nargs="?")
    found.add_argument("--test", action="store_true", required=True, help="send a message marked as a test")


def _diff(options: argparse.Namespace) -> int:
    from promotion.cli.service import config_of, ledger
    from promotion.cli.tables import table
    from promotion.rendering.documents.compared import compared_document

    def known(version: int) -> VersionState:
        state = ledger().version(options.group, version)
        if state is None:
            raise Invalid("VERSION", f"{options.group} has no version {version} that this service knows of.")
        return state

    one, other = known(options.one), known(options.other)
    compared = compared_document(other, one, config_of(options.group).environment_names)
    if options.json:
        print(json.dumps(compared, indent=2, ensure_ascii=False))
        return 0
    before, after = f"v{options.one}", f"v{options.other}"
    for part in compared["parts"]:
        print("as registered:" if part["place"] == "registered" else f"measured in {part['place']}:")
        rows = [("METRIC", before, after, "CHANGE")]
        rows += [
            (row["metric"], _value(row["live"]), _value(row["candidate"]), _change(row)) for row in part["metrics"]
        ]
        table(rows, indent="  ")
    if not compared["parts"]:
        print("There is no place where both were measured.")
    found_in = [(row["what"], row["live"], row["candidate"]) for row in compared["differences"]]
    if found_in:
        table([("PACKAGE", before, after), *found_in])
    else:
        print("Nothing differs in the package: same bytes, image, settings and metadata.")
    return 0


def _value(metric: MetricDocument | None) -> str:
    return number(metric["value"]) if metric and metric["value"] is not None else "-"


def _change(row: Mapping[str, object]) -> str:
    if not row["change"]:
        return "-"
    if row["better"] is None:
        return str(row["change"])
    return f"{row['change']} {'within the noise' if row['noise'] else 'better' if row['better'] else 'worse'}"


def _open(options: argparse.Namespace) -> int:
    from promotion.cli.service import installation, ledger

    group, version = options.group, options.version
    known = ledger().version(group, version) if version is not None else ledger().head(group).sequence
    if not known:
        what = (
            f"{group} has no version {version}" if version is not None else f"there is no model package group {group}"
        )
        raise Invalid("VERSION" if version is not None else "GROUP", f"{what} that this service knows of.")
    base = str(installation()["api_url"]).rstrip("/")
    address = f"{base}/models/{group}" + (f"/versions/{version}" if version is not None else "")
    print(json.dumps({"url": address}) if options.json else address)
    return 0


def _notify(options: argparse.Namespace) -> int:
    from promotion.aws.messages.channels import ChannelFailed, sender
    from promotion.cli.service import client, config, installation
    from promotion.rendering.channels import Notice

    channels = config().channels
    if options.channel is not None and options.channel not in channels:
        raise Invalid("CHANNEL", f"there is no channel {options.channel}; there are {', '.join(channels) or 'none'}.")
    if not channels:
        raise Invalid("channels", "the configuration has no [channels]: docs/channels.md has examples.")
    told = Notice(
        kind=TEST_KIND,
        group="",
        environment="",
        title="Test of this channel",
        lines=("Model promotion writes here. Nothing happened, and nothing is to be done.",),
        link=("Open the board", str(installation()["api_url"])),
    )
    results: dict[str, str] = {}
    for name in [options.channel] if options.channel else channels:
        try:
            sender(channels[name], client).notify(told)
            results[name] = ""
        except (ChannelFailed, PromotionError) as error:
            results[name] = one_line(str(error), 300)
    if options.json:
        print(json.dumps({name: {"sent": not problem, "problem": problem} for name, problem in results.items()}))
    else:
        for name, problem in results.items():
            print(f"{name}: {problem or 'sent'}")
    return 1 if any(results.values()) else 0
