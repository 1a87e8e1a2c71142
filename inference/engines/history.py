"""Isolation for models whose answers depend on earlier answers or on other rows of their batch.

transformers permanently switches a BigBird to full attention at the first short text; sparse experts of Switch and NLLB drop
tokens by a capacity that the whole batch shares, and their encoder returns more than its hidden state; FNet mixes padding into
every token, ConvBERT and Nystromformer into adjacent tokens, and XLNet classifies by the last position, which may be padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Values of `model_type` for which each record gets its own forward pass.
ONE_BY_ONE = frozenset(
    {"bigbird_pegasus", "big_bird", "switch_transformers", "nllb-moe", "fnet", "xlnet", "convbert", "nystromformer"}
)


def one_by_one(model: Any) -> bool:
    """Return True if each record needs a forward pass of its own."""
    return model.config.model_type in ONE_BY_ONE


def restorer(model: Any) -> Callable[[], None]:
    """Return what puts `model` back into the state in which it was loaded; called before each pass."""
    switched = [module for module in model.modules() if hasattr(module, "set_attention_type")]
    if not switched:
        return _nothing
    # The outermost module switches its layers too.
    outermost, kind = switched[0], model.config.attention_type

    def restore() -> None:
        outermost.set_attention_type(kind)

    return restore


def _nothing() -> None:
    """Do nothing: most models keep no state between calls."""
