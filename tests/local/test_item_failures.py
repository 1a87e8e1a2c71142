"""What a function says of its batch, as Lambda reads it."""

from __future__ import annotations

import pytest

from local.sources.item_failures import reported


@pytest.mark.parametrize("answer", [b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}'])
def test_a_batch_without_failures_is_done(answer: bytes) -> None:
    assert reported(answer, ["a", "b"]) == set()


def test_the_failed_items_are_those_that_are_named() -> None:
    assert reported(b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', ["a", "b"]) == {"b"}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'{"batchItem',
        b"[1]",
        b'{"batchItemFailures": 1}',
        b'{"batchItemFailures": ["b"]}',
        b'{"batchItemFailures": [{"id": "b"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "another"}]}',
    ],
)
def test_an_invalid_answer_fails_the_whole_batch(answer: bytes) -> None:
    assert reported(answer, ["a", "b"]) == {"a", "b"}
