"""Formatting of times, durations, sizes, numbers and untrusted text, for mails and pages."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ELLIPSIS = "…"
# Characters that turn the direction of what follows: in a name they could make a line say something else.
_TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zero-width joiners hold emoji and Persian words together.
_JOINING = frozenset("\u200c\u200d")
# Those, control characters other than tabs and line ends, and invisible characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def iso(time: datetime) -> str:
    """ISO 8601 in UTC, with Z."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(time: datetime | str, zone: str = "UTC") -> str:
    """A point in time as people write it: `Fri 20 Nov 2026, 14:05 UTC`, or `Fri 20 Nov 2026, 15:05 CET (14:05 UTC)`."""
    found = (datetime.fromisoformat(time) if isinstance(time, str) else time).astimezone(UTC)
    place = _zone(zone)
    if place is None:
        return f"{_written(found)} UTC"
    there = found.astimezone(place)
    day = "" if there.date() == found.date() else f"{found:%a} "
    return f"{_written(there)} {there:%Z} ({day}{found:%H:%M} UTC)"


def _written(time: datetime) -> str:
    # Not %d: no leading zero, on every platform.
    return f"{time:%a} {time.day} {time:%b %Y, %H:%M}"


@functools.cache
def _zone(name: str) -> ZoneInfo | None:
    """A time zone by its IANA name; None for UTC, and where this machine has no such zone."""
    try:
        return None if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None


def span(length: timedelta) -> str:
    """A length of time in its largest sensible unit: `3 days`, `5 hours`, `12 minutes`."""
    seconds = abs(length.total_seconds())
    for unit, size, least in (("week", 604_800, 21), ("day", 86_400, 2), ("hour", 3600, 1.5), ("minute", 60, 1)):
        if seconds >= least * (86_400 if unit == "week" else size):
            return counted(int(seconds / size + 0.5), unit)
    return "less than a minute"


def ago(time: datetime | str, now: datetime | str) -> str:
    """Return the time before `now`, in words."""
    then, current = _time(time), _time(now)
    if current < then:
        return f"in {span(then - current)}"
    if current - then < timedelta(minutes=1):
        return "just now"
    return f"{span(current - then)} ago"


def counted(count: int, noun: str) -> str:
    """`1 gate`, `2 gates`, `1,200 records`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: float) -> str:
    """A number of bytes in decimal units, as AWS's console writes them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        # From 999.5 on, three digits would be written as 1e+03.
        if count < 999.5:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def change(new: float | None, old: float | None) -> str:
    """The difference with its sign, or nothing where one of both is missing."""
    if new is None or old is None or not math.isfinite(new - old):
        return ""
    difference = float(f"{new - old:.4g}")
    if abs(difference) < 1e-9 * max(abs(new), abs(old), 1e-3):
        return "±0"
    return f"{'+' if difference > 0 else '−'}{number(abs(difference))}"


def listed(words: list[str] | tuple[str, ...], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def listed_names(names: Sequence[str], last: str = "and") -> str:
    """Names listed once each, in quotation marks where one holds a comma: `“ML, dev” and “ML, test”`."""
    once = list(dict.fromkeys(names))
    return listed([f"“{name}”" for name in once] if any("," in name for name in once) and len(once) > 1 else once, last)


def one_line(text: str, longest: int = 200) -> str:
    """Text for a heading, a subject or a header: no line ends, no control characters, nothing that turns its direction."""
    if len(text) <= longest and text.isascii() and text.isprintable() and text == text.strip() and "  " not in text:
        return text  # most are: a board of a thousand groups asks this of four thousand names
    kept = "".join(
        character if character in _JOINING or unicodedata.category(character)[0] != "C" else " "
        for character in text[: longest * 8]
        if character not in _TURNING
    )
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1].rstrip() + ELLIPSIS


def readable(text: str, longest: int) -> tuple[str, int]:
    """Text of several lines without control characters, at most `longest` characters, and how many were left out."""
    kept = "".join(
        character
        for character in text.replace("\r\n", "\n").replace("\r", "\n")
        if character in "\n\t" or character in _JOINING or unicodedata.category(character)[0] != "C"
    ).strip()
    if len(kept) <= longest:
        return kept, 0
    shown = kept[:longest].rstrip()
    return shown + ELLIPSIS, len(kept) - len(shown)


def seen(value: object) -> object:
    """Return a value as a template may write it: a text without invisible characters and without changes of direction.

    Templates apply it to every expression, so that a field which nobody thought of turns no line of a page.
    """
    return _UNSEEN.sub("", value) if type(value) is str else value


def _time(time: datetime | str) -> datetime:
    return datetime.fromisoformat(time) if isinstance(time, str) else time


def is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


# The most characters of a number, so that tables and mails keep their shape for any metrics file.
MOST_CHARACTERS = 12


def number(value: float | None) -> str:
    """A number as people read it: four significant digits, no trailing zeros; at most 11 characters, so that a sign has room."""
    if value is None or not math.isfinite(value):
        return "missing"
    # Whole numbers in full; others with four digits, never as 1.603e+04.
    rounded = value if float(value).is_integer() else float(f"{value:.4g}")
    if abs(rounded) >= 10_000 and len(text := f"{rounded:,.0f}") < MOST_CHARACTERS:
        return text
    return f"{value:.4g}"


def duration(milliseconds: float | None) -> str:
    """A time that something took: `88 ms`, `16.0 s`, `2.5 min`."""
    if milliseconds is None or not math.isfinite(milliseconds) or abs(milliseconds) < 1000:
        return f"{number(milliseconds)} ms" if is_known(milliseconds) else "missing"
    seconds = milliseconds / 1000
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def quantity(name: str, value: float | None) -> str:
    """A number by the unit that its name ends in: `peak_memory_bytes` 841871360 is 842 MB, `load_ms` 16030 is 16.0 s."""
    if name.endswith("_ms"):
        return duration(value)
    if name.endswith("_bytes") and value is not None and math.isfinite(value):
        return size(value)
    return number(value)


def spoken(name: str) -> str:
    """The name of a quantity without its unit: `peak_memory_bytes` is `Peak memory`."""
    said = name.removesuffix("_bytes").removesuffix("_ms").replace("_per_s", " per second").replace("_", " ")
    return said[:1].upper() + said[1:]


def principal(text: str) -> str:
    """An AWS principal as people name it: `dee (IAM user)`, `dee (role MLEngineer)`; any other text as it is."""
    if not text.startswith("arn:") or text.count(":") < 5:
        return text
    _, _, service, _, account, resource = text.split(":", 5)
    kind, *path = resource.split("/")
    if service == "sts" and kind == "assumed-role" and len(path) > 1:
        return f"{path[-1]} (role {path[0]})"
    if service == "iam" and kind in ("user", "role") and path:
        return f"{path[-1]} ({'IAM user' if kind == 'user' else 'role'})"
    return f"the root user of account {account}" if service == "iam" and kind == "root" else text


def share(value: float | None) -> str:
    """A share as people read it: 0.05 is 5%."""
    if value is None or not is_known(value * 100):
        return "missing"
    text = number(value * 100)
    return f"{text if len(text) < MOST_CHARACTERS else f'{value * 100:.4g}'}%"
