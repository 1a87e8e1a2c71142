"""No test finds what an earlier one left in the process: tests/conftest.py."""

from __future__ import annotations

import os

from promotion.aws.caller_identity import sts_address

ELSEWHERE = "http://127.0.0.1:9"


def test_one_test_sets_an_endpoint_and_uses_it() -> None:
    os.environ["AWS_ENDPOINT_URL"] = ELSEWHERE
    assert sts_address("us-east-1") == f"{ELSEWHERE}/"


def test_the_next_one_finds_neither_the_variable_nor_the_client() -> None:
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert sts_address("us-east-1") == "https://sts.us-east-1.amazonaws.com/"
