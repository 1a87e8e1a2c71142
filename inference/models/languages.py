"""The languages of a translation model's tokenizer: NLLB, M2M100, mBART and similar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from promotion.errors import Invalid

if TYPE_CHECKING:
    from inference.records.parameters import Generation

# NLLB's codes (eng_Latn) and mBART's (en_XX), if the tokenizer has no table of them.
_CODE = re.compile("[a-z]{2,3}_[A-Za-z]{2,4}")


class Languages:
    """Source and target languages that requests can name."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._codes = _codes(tokenizer)

    def resolved(self, settings: Generation) -> Generation:
        """Return `settings` with the target language as the first token of the answer.

        Raises:
            Invalid: the model doesn't have a language, the target is named in two ways, or a token is outside the
                vocabulary.
        """
        for name, code in (("src_lang", settings.src_lang), ("tgt_lang", settings.tgt_lang)):
            if code is None:
                continue
            if not self._codes:
                raise Invalid(name, "names a language, and this model's tokenizer has no codes of languages.")
            if code not in self._codes:
                some = ", ".join(sorted(self._codes)[:5])
                raise Invalid(name, f"is {code[:40]!r}, which this model has not; its codes are of the form {some}, …")
        forced = settings.forced_bos_token_id
        if forced is not None and forced >= self._vocabulary:
            raise Invalid("forced_bos_token_id", f"is {forced}, and the model has {self._vocabulary} tokens.")
        if settings.tgt_lang is None:
            return settings
        target = self._codes[settings.tgt_lang]
        if forced is not None and forced != target:
            raise Invalid(
                "forced_bos_token_id", f"is {forced}, and tgt_lang {settings.tgt_lang} is {target}: send one."
            )
        return settings.with_first(target)


def _codes(tokenizer: Any) -> Mapping[str, int]:
    """Return each language's code and its token; empty if the tokenizer has no source language."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    table = getattr(tokenizer, "lang_code_to_id", None)
    if isinstance(table, Mapping) and table:
        return dict(table)
    special = [token for token in tokenizer.all_special_tokens if _CODE.fullmatch(token)]
    return {token: tokenizer.convert_tokens_to_ids(token) for token in special}
