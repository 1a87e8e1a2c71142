"""One tokenizer serves several threads: labels are checked on some, while texts are tokenized on another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from inference.models.loading import load
from inference.models.tokenizing import Encoder
from tests.inference.samples import sentences


class Watched:
    """A tokenizer whose calls can be seen to overlap: the first waits a moment for another."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._calling = threading.Lock()
        self.begun, self.overlapped = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *texts: Any, **options: Any) -> Any:
        first = self._calling.acquire(blocking=False)
        if not first:
            self.overlapped.set()
        elif not self.begun.is_set():
            self.begun.set()
            self.overlapped.wait(0.2)
        try:
            return self._tokenizer(*texts, **options)
        finally:
            if first:
                self._calling.release()


def test_a_label_is_checked_between_two_calls_of_the_tokenizer_not_during_one(bart_folder: Path) -> None:
    """A call sets the tokenizer's truncation: another one meanwhile would get a text that the model can't hold."""
    loaded = load(bart_folder)
    tokenizer = Watched(loaded.tokenizer)
    encoder = Encoder(tokenizer, loaded.model)
    long, label = "the fox " * 300, sentences(1)[0]
    fits: list[bool] = []

    def parse() -> None:
        assert tokenizer.begun.wait(60)
        fits.append(encoder.fits_as_hypothesis(label))

    thread = threading.Thread(target=parse)
    thread.start()
    encoded = encoder.encode_pairs([long], [label])
    thread.join(60)

    assert not tokenizer.overlapped.is_set()
    assert fits == [True]
    assert [len(one.tokens) for one in encoded] == [encoder.longest]
