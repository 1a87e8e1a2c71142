"""Filter, order and page of the board, from its URL's query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import asdict, replace

from promotion import names
from promotion.config.loading import Config
from promotion.formatting import one_line

LONGEST_FILTER = 63

Show = Literal["", "waiting", "trouble", "closed"]
SHOWS: tuple[Show, ...] = ("waiting", "trouble", "closed")
Sort = Literal["name", "newest", "oldest"]


class BoardFilter(Struct, frozen=True, kw_only=True):
    """Filter and order of the board, and its page: a number, or, without a filter, the group before or after the page.

    Other parameters of the query are ignored.
    """

    q: str = ""
    owner: str = ""
    environment: str = ""
    show: Show = ""
    sort: Sort = "name"
    page: int = 1
    after: str = ""
    before: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str], config: Config) -> BoardFilter:
        """Read the query of an address."""
        environment, show, sort, page = (query.get(name, "") for name in ("environment", "show", "sort", "page"))
        found = cls(
            q=one_line(query.get("q", ""), LONGEST_FILTER),
            owner=one_line(query.get("owner", ""), LONGEST_FILTER),
            environment=environment if environment in config.environment_names else "",
            show=next((known for known in SHOWS if show == known), ""),
            sort="newest" if sort == "newest" else "oldest" if sort == "oldest" else "name",
            page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 6 else 1,
        )
        if not found.is_by_name:
            return found
        after, before = (
            group if names.GROUP_PATTERN.fullmatch(group) else ""
            for group in (query.get("after", ""), query.get("before", ""))
        )
        return replace(found, after=after, before="" if after else before)

    @property
    def is_set(self) -> bool:
        """Return True if the filter excludes groups."""
        return bool(self.q or self.owner or self.environment or self.show)

    @property
    def is_by_name(self) -> bool:
        """Return True if pages are in order of the groups' names, so that no other groups are read for a page."""
        return not self.is_set and self.sort == "name" and self.page == 1

    @property
    def is_of_active(self) -> bool:
        """Return True if only groups with an open request or a problem are shown, so that no others are read."""
        return self.show in ("waiting", "trouble")

    def address(self, **changes: object) -> str:
        """Return the board's address with this filter and `changes` to it, which may have a `format` too."""
        wanted = asdict(self) | changes
        kept = {name: value for name, value in wanted.items() if value and value not in ("name", 1)}
        return f"/?{urlencode(kept)}".rstrip("?")
