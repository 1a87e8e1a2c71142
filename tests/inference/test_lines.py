"""Every output line is JSON and a Python literal, and both say the same."""

from __future__ import annotations

import ast
import json

from hypothesis import example, given
from hypothesis import strategies as st

from inference.records.json_lines import dump_line, literal_safe, split_lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
@example({"a": None, "b": True, "c": float("nan"), "d": "\ud800 \u2028 \x85 \\ \" ' \U0001f600 \x00 \x7f \\u0041"})
def test_a_line_reads_the_same_as_json_and_as_a_python_literal(value: object) -> None:
    line = dump_line({"value": value}).decode()

    assert json.loads(line) == ast.literal_eval(line)


@given(st.text())
@example("a\u2028b\x85c\x1cd\x0be")
def test_a_line_is_one_line_for_every_reader(text: str) -> None:
    assert len(dump_line({"text": text}).decode().splitlines()) == 1


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_comes_out_as_it_went_in(text: str) -> None:
    assert json.loads(dump_line(text)) == text


def test_values_that_json_and_python_spell_differently_are_not_written() -> None:
    assert literal_safe({"a": None, "b": [True, None, False]}) == {"b": [1, 0]}


def test_a_last_line_break_makes_no_line() -> None:
    assert split_lines(b"a\r\n\nb\n") == [b"a", b"", b"b"]
    assert split_lines(b"a\nb") == [b"a", b"b"]
    assert split_lines(b"") == []
