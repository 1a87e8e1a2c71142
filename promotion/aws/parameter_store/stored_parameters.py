"""Reading parameters below a path, and the pages of a version's history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from promotion.aws.accounts import RoutedParameters
from promotion.client.live_record import read_json
from promotion.ledger.archive import FIELD as ARCHIVED
from promotion.ledger.comparing import LONGEST_NUMBER, is_page, page_number, parsed
from promotion.ledger.parameter_documents import pages_of

if TYPE_CHECKING:
    from promotion.aws.accounts import Parameters


def read_below(client: Parameters, path: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of all parameters below a path."""
    for answer in client.get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True):
        for parameter in answer["Parameters"]:
            yield parameter["Name"], parameter["Value"]


def read_histories(client: Parameters, path: str) -> Iterator[tuple[str, str]]:
    """Yield names and values below a path of histories, which the registry's account alone has."""
    return read_below(client.home if isinstance(client, RoutedParameters) else client, path)


def read_pages(pages: Mapping[int, str], numbers: range, *, tolerant: bool) -> list[dict[str, object]]:
    """Return the entries of a history's pages, in order.

    With `tolerant` a page may be missing, because it may have been deleted after archiving.

    Raises:
        KeyError: a page is missing.
        ValueError: a page is no JSON.
    """
    # Not by going through `numbers`: a document that was written from outside may count any number of pages.
    wanted = sorted(number for number in pages if number in numbers)
    if not tolerant and len(wanted) != numbers.stop - numbers.start:
        raise KeyError(f"{numbers.stop - numbers.start} pages")
    return [found for number in wanted for found in read_json(pages[number])]


def read_document(value: str) -> dict[str, Any] | None:
    """Return a version's own parameter; None if it is not one that a history can be added to."""
    document = parsed(value)
    entries, numbers = document.get("history"), pages_of(document)
    numbered = [document.get("last"), document.get(ARCHIVED, 0), document.get("pages")]
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        return None
    numbered += [each.get("sequence") for each in entries]
    counts = 1 <= numbers.start <= numbers.stop < 10**LONGEST_NUMBER
    return document if counts and all(isinstance(each, int) for each in numbered) else None


def read_sequences(page: str) -> set[int]:
    """Return the sequence numbers of a page's entries; none if it can't be read."""
    try:
        return {int(found["sequence"]) for found in read_json(page)}
    except (ValueError, TypeError, KeyError, OverflowError):
        return set()


def history_pages(client: Parameters, base: str) -> dict[int, str]:
    """Return the values of a history's pages by number."""
    return {
        page_number(name): value for name, value in read_histories(client, f"{base}/history") if is_page(name, base)
    }
