"""Contents, or beginnings, of some members of an artifact, kept while it is hashed."""

from __future__ import annotations

from collections.abc import Callable

# Returns how many bytes of a member to keep, from its path, its size and the bytes read so far (none at first). Called again
# when that many bytes are read.
Wanted = Callable[[str, int, bytes], int]
# The limit for all members together; content beyond it is not kept, and so not checked.
LARGEST_KEPT_BYTES = 64 << 20


def nothing(path: str, size: int, begin: bytes) -> int:
    """Keep nothing."""
    return 0


class KeptDocuments:
    """The kept content of an archive's members, by path."""

    def __init__(self, wanted: Wanted) -> None:
        """Keep of each member as many bytes as `wanted` returns."""
        self._wanted, self._left = wanted, LARGEST_KEPT_BYTES
        self.contents: dict[str, bytes] = {}

    def begin(self, path: str, size: int) -> Callable[[bytes | memoryview], None]:
        """Begin with a member; return what takes its chunks, in order."""
        most = self._wanted(path, size, b"")
        if most:
            self.contents[path] = b""

        def take(chunk: bytes | memoryview) -> None:
            nonlocal most
            rest = memoryview(chunk)
            while rest and (room := min(most - len(self.contents.get(path, b"")), len(rest))) > 0:
                if room > self._left:
                    most, _ = 0, self.contents.pop(path)
                    return
                self._left -= room
                self.contents[path] += bytes(rest[:room])
                rest = rest[room:]
                if len(self.contents[path]) == most:
                    most = self._wanted(path, size, self.contents[path])

        return take
