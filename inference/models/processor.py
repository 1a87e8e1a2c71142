"""What the processor of this machine has instructions for."""

from __future__ import annotations

from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Products in 16 bits: https://www.kernel.org/doc/html/latest/arch/x86/cpuinfo.html names the flags of x86, `bf16` is Arm's.
_SIXTEEN_BITS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "avx_ne_convert"})


def flags(info: str) -> frozenset[str]:
    """The instruction sets of a processor.

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
    """Whether the processor multiplies in bfloat16; true where the system does not say."""
    try:
        found = flags(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return True
    return not found or bool(found & _SIXTEEN_BITS)
