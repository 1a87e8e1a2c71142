"""An argument parser that suggests the nearest word for a mistyped one."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from promotion.errors import Invalid

_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.+)\)")


class Misused(Invalid):
    """Options that don't go together, or one that is missing: the command ends with exit code 2."""

    code = "Invalid"


class Parser(argparse.ArgumentParser):
    """An argparse parser with suggestions in its error messages."""

    def error(self, message: str) -> NoReturn:
        """Print the error and the nearest valid word, and exit with 2."""
        if found := _INVALID_CHOICE.search(message):
            message += _meant(found[1], re.findall(r"[\w-]+", found[2]))
        super().error(message)

    # The inherited method is overloaded by the type of the namespace.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse an unknown option here, where the valid options are known for a suggestion."""
        options, rest = super().parse_known_args(args, namespace)
        if unknown := [word for word in rest if word.startswith("--")]:
            known = re.findall(r"--[a-z][\w-]+", self.format_help())
            self.error(f"unrecognized arguments: {' '.join(rest)}{_meant(unknown[0].partition('=')[0], known)}")
        return options, rest


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def common_options(*, suppressed: bool) -> Parser:
    """Return the options of every command, valid before or after its name.

    With `suppressed`, for the position after the name: a missing option keeps the value from before the name.
    """
    absent = argparse.SUPPRESS if suppressed else None
    common = Parser(add_help=False)
    common.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS if suppressed else False, help="answer in JSON"
    )
    common.add_argument(
        "--config",
        metavar="FILE",
        default=absent,
        help="the promotion.toml in effect (default: PROMOTION_CONFIG, or ./promotion.toml)",
    )
    common.add_argument("--region", metavar="NAME", default=absent, help="AWS region (default: AWS_REGION)")
    common.add_argument("--profile", metavar="NAME", default=absent, help="AWS profile (default: AWS_PROFILE)")
    return common
