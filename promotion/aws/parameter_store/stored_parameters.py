"""Reading parameters below a path, and the pages of a version's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from promotion.client.live_record import read_json
from promotion.ledger.comparing import is_page, page_number

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


def read_below(client: Parameters, path: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of all parameters below a path."""
    for answer in client.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        for parameter in answer["Parameters"]:
            yield parameter["Name"], parameter["Value"]


def read_pages(pages: Mapping[int, str], numbers: range, *, tolerant: bool) -> list[dict[str, object]]:
    """Return the entries of a history's pages, in order.

    With `tolerant` a page may be missing, because it may have been deleted after archiving.

    Raises:
        KeyError: a page is missing.
        ValueError: a page is no JSON.
    """
    wanted = [number for number in numbers if number in pages or not tolerant]
    return [found for number in wanted for found in read_json(pages[number])]


def history_pages(client: Parameters, base: str) -> dict[int, str]:
    """Return the values of a history's pages by number."""
    return {page_number(name): value for name, value in read_below(client, f"{base}/history") if is_page(name, base)}
