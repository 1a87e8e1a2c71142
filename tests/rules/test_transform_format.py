"""The format in which a job passes records to a container, by the package and the input."""

from __future__ import annotations

import pytest

from promotion.config.loading import parse
from promotion.domain.transform_format import TransformFormat, transform_format
from promotion.errors import Invalid
from tests.fakes import CONFIG_TEXT

LINES = {"split_type": "Line", "batch_strategy": "MultiRecord", "assemble_with": "Line"}
WHOLE = {"split_type": "None", "batch_strategy": "SingleRecord", "assemble_with": "None"}


@pytest.mark.parametrize(
    ("uri", "takes", "answers", "expected"),
    [
        ("s3://b/input.jsonl", (), (), ("application/jsonlines", "application/jsonlines", LINES)),
        ("s3://b/input.csv", ("text/csv",), ("text/csv",), ("text/csv", "text/csv", LINES)),
        ("s3://b/input.csv", (), (), ("text/csv", "text/csv", LINES)),
        ("s3://b/data/", ("text/csv",), (), ("text/csv", "text/csv", LINES)),
        ("s3://b/data/", ("text/libsvm", "text/csv"), ("application/json",), ("text/csv", "application/json", LINES)),
        ("s3://b/input.json", ("application/json",), (), ("application/json", "application/json", WHOLE)),
        ("s3://b/images/", ("image/png",), ("application/json",), ("image/png", "application/json", WHOLE)),
    ],
)
def test_the_format_follows_the_input_and_the_package(
    uri: str, takes: tuple[str, ...], answers: tuple[str, ...], expected: tuple[str, str, dict[str, str]]
) -> None:
    content_type, accept, rest = expected
    found = transform_format(uri, takes, answers)
    assert found == TransformFormat(content_type=content_type, accept=accept, **rest)


def test_the_configuration_has_the_last_word() -> None:
    found = transform_format("s3://b/x.jsonl", ("text/csv",), (), content_type="text/libsvm", accept="text/csv")
    assert (found.content_type, found.accept, found.split_type) == ("text/libsvm", "text/csv", "None")


def test_patterns_of_groups_change_how_runs_are_fed_and_judged() -> None:
    config = parse(
        f"""{CONFIG_TEXT}
[groups_override."churn-*".inference]
task = "binary-classification"
[advanced.groups_override."churn-*".inference]
header = false
input = "s3://tables/{{group}}/golden.csv"
threshold = 0.3
[advanced.groups_override."churn-eu-*".inference]
threshold = 0.4
"""
    )
    there, here = config.evaluation("churn-eu-1"), config.evaluation("summaries")
    assert there.input == "s3://tables/{group}/golden.csv"
    assert there.references == config.inference.references
    assert there.score_arguments == ["--task", "binary-classification", "--threshold", "0.4", "--header", "no"]
    assert (here.input, here.score_arguments) == (config.inference.input, [])


def test_a_ranking_is_told_its_queries_and_cutoffs() -> None:
    config = parse(
        f"""{CONFIG_TEXT}
[groups_override."search-*".inference]
task = "ranking"
[advanced.groups_override."search-*".inference]
query_field = "search"
cutoffs = [3, 20]
"""
    )
    wanted = ["--task", "ranking", "--query-field", "search", "--cutoffs", "3,20"]
    assert config.evaluation("search-eu").score_arguments == wanted


def test_roles_are_let_into_the_buckets_of_every_pattern() -> None:
    text = (
        f'{CONFIG_TEXT}\n[advanced.groups_override."churn-*".inference]\ninput = "s3://tables/{{group}}/golden.csv"\n'
    )
    assert parse(text).data_buckets == (*parse(CONFIG_TEXT).data_buckets, "tables")


def test_a_place_that_is_none_is_refused_with_its_pattern() -> None:
    text = f'{CONFIG_TEXT}\n[advanced.groups_override."churn-*".inference]\ninput = "golden.csv"\n'
    with pytest.raises(Invalid, match=r'advanced\.groups_override."churn-\*".inference.input.*is no place in S3'):
        parse(text)


def test_a_filter_is_for_records_that_sagemaker_can_filter() -> None:
    assert transform_format("s3://b/x.csv", (), (), input_filter="$[1:]").input_filter == "$[1:]"
    with pytest.raises(Invalid, match="filters CSV and JSON"):
        transform_format("s3://b/images/", ("image/png",), (), input_filter="$[1:]")
