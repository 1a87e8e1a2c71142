"""Metrics of rankings: held to scikit-learn and to the definitions by brute force, read from files, drawn, gated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from sklearn import metrics as sk

from inference.scoring.rankings import ranking
from inference.scoring.score import score
from inference.scoring.table_metrics import Judged
from inference.scoring.table_score import TableOptions
from promotion.errors import Invalid
from tests.inference.score_command import score_by_command

# (query, relevance, score), with scores that are often equal.
Record = tuple[int, int, float]
RECORDS = some.lists(
    some.tuples(some.integers(0, 4), some.integers(0, 3), some.sampled_from([-1.5, 0.0, 0.1, 0.25, 0.5, 0.75, 2.0])),
    min_size=1, max_size=30,
).filter(lambda records: any(gain for _, gain, _ in records))  # fmt: skip
EXAMPLES = settings(max_examples=60, deadline=None)


def judged(records: Sequence[Record], **options: Any) -> Judged:
    query, gain, given_score = (np.array(column) for column in zip(*records, strict=True))
    return ranking(query, gain.astype(np.float64), given_score.astype(np.float64), **options)


def by_query(records: Sequence[Record]) -> list[tuple[list[int], list[float]]]:
    """Relevances and scores of each query that has a relevant record."""
    found = [list(each) for _, each in groupby(sorted(records), key=lambda record: record[0])]
    lists = [([gain for _, gain, _ in each], [value for *_, value in each]) for each in found]
    return [(gains, scores) for gains, scores in lists if any(gains)]


@EXAMPLES
@given(RECORDS)
@example([(0, 1, 0.5), (0, 0, 0.5)])
@example([(0, 0, 0.5), (1, 3, 0.5), (1, 0, 2.0)])
def test_ndcg_is_scikit_learns_mean_over_queries(records: list[Record]) -> None:
    # scikit-learn refuses a list of one record, which any order ranks right.
    lists = by_query(records)
    for k in (1, 3, 10):
        wanted = [1.0 if len(gains) == 1 else float(sk.ndcg_score([gains], [scores], k=k)) for gains, scores in lists]
        found = judged(records, cutoffs=[k]).estimates[f"ndcg_at_{k}"]
        assert found.value == pytest.approx(np.mean(wanted), abs=1e-12)
        assert found.n == len(wanted)


@EXAMPLES
@given(RECORDS)
@example([(0, 1, 0.5), (0, 0, 0.5)])
def test_map_is_the_mean_of_scikit_learns_average_precision(records: list[Record]) -> None:
    wanted = [
        float(sk.average_precision_score([gain > 0 for gain in gains], scores)) for gains, scores in by_query(records)
    ]
    assert judged(records).estimates["map"].value == pytest.approx(np.mean(wanted), abs=1e-12)


@EXAMPLES
@given(RECORDS)
def test_mrr_is_one_over_the_worst_rank_that_the_best_relevant_record_can_have(records: list[Record]) -> None:
    wanted = []
    for gains, scores in by_query(records):
        best = max(value for gain, value in zip(gains, scores, strict=True) if gain)
        wanted.append(1 / sum(value >= best for value in scores))
    assert judged(records).estimates["mrr"].value == pytest.approx(np.mean(wanted), abs=1e-12)


def test_a_tie_counts_as_the_mean_of_its_orders() -> None:
    gains, scores = [3, 0, 1, 2], [0.7, 0.2, 0.2, 0.2]
    discount = 1 / np.log2(np.arange(4) + 2)
    orders = [np.array([3, *rest]) for rest in permutations([0, 1, 2])]
    wanted = np.mean([(order * discount)[:3].sum() for order in orders]) / (np.array([3, 2, 1]) * discount[:3]).sum()
    found = judged([(0, gain, value) for gain, value in zip(gains, scores, strict=True)], cutoffs=[3])
    assert found.estimates["ndcg_at_3"].value == pytest.approx(wanted, abs=1e-12)


@EXAMPLES
@given(RECORDS, some.randoms())
def test_the_order_of_the_records_changes_nothing(records: list[Record], chance: Any) -> None:
    mixed = list(records)
    chance.shuffle(mixed)
    # Sums in another order may differ in their last bit.
    for name, one in judged(records).estimates.items():
        other = judged(mixed).estimates[name]
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_relevance_counts_from_the_threshold_on() -> None:
    records = [(0, 1, 0.9), (0, 2, 0.5)]
    assert judged(records).estimates["mrr"].value == 1
    assert judged(records, relevant_from=2).estimates["mrr"].value == 0.5


def test_queries_are_resampled_whole() -> None:
    # Half of the queries are ranked right and half wrong, of a hundred records each: the spread is that of 20 queries.
    records = [
        (query, int(place == 0), float(place if query % 2 else -place)) for query in range(20) for place in range(100)
    ]
    found = judged(records).estimates["mrr"]
    half = 1.96 * 0.495 / np.sqrt(20)
    assert found.n == 20
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)


OUTPUTS = ["0.9", "0.1", "0.4", "0.3", "0.8", "0.5"]
REFERENCES = ["qid,relevance,market", "a,1,de", "a,0,de", "a,2,de", "b,0,fr", "b,1,fr", "c,0,fr"]


def written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def scored(tmp_path: Path, outputs: Sequence[str], references: Sequence[str], **options: Any) -> dict[str, Any]:
    return score(
        written(tmp_path / "o.csv.out", outputs), written(tmp_path / "r.csv", references), tmp_path / "score",
        task="ranking", table=TableOptions(**options),
    )  # fmt: skip


def test_queries_come_from_a_column_of_the_references(tmp_path: Path) -> None:
    document = scored(tmp_path, OUTPUTS, REFERENCES)
    assert document["task"] == "ranking"
    assert {name: metric["n"] for name, metric in document["metrics"].items()} == {
        "ndcg_at_5": 2, "ndcg_at_10": 2, "map": 2, "mrr": 2,
    }  # fmt: skip
    expected = (float(sk.ndcg_score([[1, 0, 2]], [[0.9, 0.1, 0.4]])) + 1) / 2
    assert document["metrics"]["ndcg_at_10"]["value"] == pytest.approx(expected, abs=1e-6)
    assert (document["counts"]["queries"], document["counts"]["queries_without_relevant"]) == (3, 1)
    assert document["slices"]["market"]["fr"]["mrr"] == {"value": 1.0, "n": 1}
    assert set(document["pictures"]) == {"metrics.png", "queries.png"}
    assert "NDCG@10" in document["alternatives"]["metrics.png"]
    assert all((tmp_path / "score" / name).stat().st_size > 1_000 for name in document["pictures"])


def test_queries_may_come_with_the_answers(tmp_path: Path) -> None:
    outputs = ["search,score", *(f"{query},{value}" for query, value in zip("aaabbc", OUTPUTS, strict=True))]
    document = scored(tmp_path, outputs, ["1", "0", "2", "0", "1", "0"], query="search", cutoffs=(1,))
    assert set(document["metrics"]) == {"ndcg_at_1", "map", "mrr"}
    assert document["metrics"]["mrr"]["value"] == 1


def test_columns_of_files_without_a_header_are_named_by_position(tmp_path: Path) -> None:
    references = [
        line.rpartition(",")[0].replace("a", "7").replace("b", "8").replace("c", "9") for line in REFERENCES[1:]
    ]
    found = scored(tmp_path, OUTPUTS, references, query="0", reference="1", header=False)
    assert found["counts"]["queries"] == 3


def test_a_column_that_differs_within_a_query_is_no_slice(tmp_path: Path) -> None:
    references = ["qid,relevance,colour", "a,1,red", "a,0,blue", "a,2,red", "b,0,red", "b,1,red", "c,0,blue"]
    assert scored(tmp_path, OUTPUTS, references)["slices"] == {}


@pytest.mark.parametrize(
    ("references", "said"),
    [
        (["relevance,market", *["1,de"] * 6], "name the column that tells one query from another"),
        (["qid,relevance", *["a,-1"] * 6], "a relevance must be at least 0, and there is -1"),
        (["qid,relevance", *["a,0"] * 6], "no query has a relevant record"),
        (["qid,relevance,market", *["a,,1"] * 6], "no record has an answer, a reference and a query"),
    ],
)
def test_input_that_can_not_be_ranked_is_reported(tmp_path: Path, references: list[str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        scored(tmp_path, OUTPUTS, references)


def test_an_unknown_query_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="has no column 'session'; there are qid, relevance, market"):
        scored(tmp_path, OUTPUTS, REFERENCES, query="session")


def test_the_command_ranks(tmp_path: Path) -> None:
    written(tmp_path / "o.csv", OUTPUTS)
    written(tmp_path / "r.csv", REFERENCES)
    document, printed = score_by_command(
        tmp_path, "--outputs", "o.csv", "--references", "r.csv", "--task", "ranking", "--query-field", "qid", "--cutoffs", "3,20"
    )  # fmt: skip
    assert "ndcg_at_20" in printed
    assert set(document["metrics"]) == {"ndcg_at_3", "ndcg_at_20", "map", "mrr"}
