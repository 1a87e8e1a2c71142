"""Linear layers of a decoder with weights prepacked by oneDNN.

On a CPU, nine tenths of a decoder's time are products with weights, and torch's own layers can take more than twice as long
for them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inference.engines.weights import can_fuse, multiplied, packed


class PackedLinear(nn.Module):
    """An `nn.Linear` that holds only its packed weights."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._packed, self._bias = packed(layer.weight.detach()), layer.bias

    def forward(self, rows: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        return multiplied(rows, self._packed, self._bias)

    def plain(self) -> nn.Linear:
        """Return an unpacked layer with equal weights."""
        weight = self._packed.to_dense()
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), self._bias
        return layer.eval()


def pack(model: nn.Module) -> bool:
    """Pack the linear layers of `model` in place; return False, and change nothing, unless it is in float32 on a CPU.

    A layer's own weights are freed when it is packed. The weights of a head that shares them with the embedding are kept twice.
    """
    kinds = {(weight.device.type, weight.dtype) for weight in model.parameters()}
    if kinds != {("cpu", torch.float32)} or not can_fuse(torch.device("cpu"), torch.float32):
        return False
    # Subclasses of nn.Linear may compute something else.
    _replace(model, lambda layer: PackedLinear(layer) if type(layer) is nn.Linear else None)
    return True


def unpack(model: nn.Module) -> None:
    """Undo `pack`."""
    _replace(model, lambda layer: layer.plain() if isinstance(layer, PackedLinear) else None)


def _replace(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace each layer that has a replacement, one layer after the other."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            other = replacement(layer)
            if other is not None:
                setattr(parent, name, other)
