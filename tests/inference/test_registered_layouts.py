"""Registration and loading agree on a model's files: the same tasks, tokenizers and code folder."""

from __future__ import annotations

from inference.models import configuration, tokenizer_files
from promotion.domain import model_layout


def test_registration_and_loading_know_the_same_words() -> None:
    assert set(model_layout.TASKS) == set(configuration.TASKS)
    assert model_layout.TOKENIZERS == tokenizer_files.NAMES
    assert (model_layout.CONFIG, model_layout.CODE_FOLDER) == (configuration.CONFIG, configuration.CODE_FOLDER)
