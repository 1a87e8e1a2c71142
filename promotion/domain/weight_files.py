"""Problems of a model's weights that the headers of its safetensors files show, without reading a weight.

A file begins with the length of its header, 8 bytes, and the header, a JSON object with each tensor's type, shape and place
(https://github.com/huggingface/safetensors#format). The registration keeps the headers while it hashes the files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

SUFFIX = ".safetensors"
_LENGTH_BYTES = 8
# A hundred thousand tensors; safetensors itself takes 100 MB.
LARGEST_HEADER = 16 << 20
METADATA = "__metadata__"


def header_bytes(begin: bytes, size: int) -> int:
    """Return how many bytes of a file to read for its header: its length first, then the header.

    Args:
        begin: The bytes read so far.
        size: Bytes of the file.
    """
    if len(begin) < _LENGTH_BYTES:
        return min(_LENGTH_BYTES, size)
    (length,) = struct.unpack("<Q", begin[:_LENGTH_BYTES])
    # A header beyond the limit, or beyond the file, is judged by its available part.
    return _LENGTH_BYTES + length if length <= min(LARGEST_HEADER, size - _LENGTH_BYTES) else _LENGTH_BYTES


def weights_problem(
    sizes: Mapping[str, int], heads: Mapping[str, bytes], indexes: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the problem of weight files; empty if their headers show none.

    Args:
        sizes: Bytes of every weight file, by path.
        heads: Begin of each, up to the end of its header.
        indexes: Tensors and the files that hold them, by the path of an index; paths of files are those in `sizes`.
    """
    tensors: dict[str, dict[str, object]] = {}
    for path, head in sorted(heads.items()):
        try:
            header = json.loads(head[_LENGTH_BYTES:])
            found = {name: each for name, each in header.items() if name != METADATA}
            end = max((int(each["data_offsets"][1]) for each in found.values()), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            return f"{path} is damaged, or not in the safetensors format."
        if len(head) + end != sizes[path]:
            told = f"its header tells of {len(head) + end:,}"
            return f"{path} has {sizes[path]:,} bytes, and {told}: it was cut off, or the header is another file's."
        tensors[path] = found
    for index, places in sorted(indexes.items()):
        for name, path in places.items():
            if path in tensors and name not in tensors[path]:
                return f"{index} has {name} in {path}, and it isn't there."
    return ""


def shapes_in(heads: Mapping[str, bytes]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in weight files whose headers are sound, by name; without shapes that are none."""
    found: dict[str, tuple[int, ...]] = {}
    for head in heads.values():
        for name, each in json.loads(head[_LENGTH_BYTES:]).items():
            shape = each.get("shape") if name != METADATA else None
            if isinstance(shape, list) and all(isinstance(size, int) for size in shape):
                found[name] = tuple(shape)
    return found
