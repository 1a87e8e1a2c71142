"""Instruction sets of this machine's CPU."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Flags for multiplication in bfloat16: Arm's `bf16`, and those of x86:
# https://www.kernel.org/doc/html/latest/arch/x86/cpuinfo.html.
_SIXTEEN_BITS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "avx_ne_convert"})


def flags(info: str) -> frozenset[str]:
    """Return the instruction sets of a processor.

    Args:
        info: the text of /proc/cpuinfo.
    """
    found: set[str] = set()
    for line in info.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found.update(value.split())
    return frozenset(found)


def computes_16_bits(path: Path = CPU_INFO) -> bool:
    """Return True if the CPU multiplies in bfloat16, or if that is unknown."""
    try:
        found = flags(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return True
    return not found or bool(found & _SIXTEEN_BITS)
