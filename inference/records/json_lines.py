"""Reading and writing of JSON Lines.

Output lines are JSON and also Python literals, because published clients read them with `ast.literal_eval`: they
contain no null, true, false, NaN or Infinity, and no escape that the two languages interpret differently.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Both languages read \uXXXX of these alike, while raw they break lines for `str.splitlines` (NEL, LS, PS) or can't be
# encoded at all (lone surrogates). Whole surrogate pairs never occur: Python strings hold the character itself.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def split_lines(body: bytes) -> list[bytes]:
    """Return the lines of a body, without an empty line after a final line break."""
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def load_value(text: bytes) -> Any:
    """Read a JSON value, without lone surrogates.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return without_surrogates(json.loads(text), text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def without_surrogates(value: Any, text: bytes) -> Any:
    """Return `value`, parsed from `text`, with question marks for lone surrogates, which can't be encoded."""
    if not _SURROGATE.search(text):
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def literal_safe(value: Any) -> Any:
    """Return `value` without what JSON and Python spell differently: null is omitted, true is 1, false is 0."""
    match value:
        case bool():
            return int(value)
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {str(key): literal_safe(item) for key, item in value.items() if item is not None}
        case list() | tuple():
            return [literal_safe(item) for item in value if item is not None]
    return "" if value is None else value


def dump_line(value: Any) -> bytes:
    """Return one output line, without its line break."""
    text = json.dumps(literal_safe(value), ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode()
