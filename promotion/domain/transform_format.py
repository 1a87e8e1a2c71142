"""Record format of a Batch Transform job: content types, splitting and assembling."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from promotion.errors import Invalid

JSON_LINES, CSV, JSON, PARQUET = "application/jsonlines", "text/csv", "application/json", "application/x-parquet"
# One record a line, so that a job may split its input and put several records into a request.
BY_LINE = (JSON_LINES, CSV)
_SUFFIXES = {".jsonl": JSON_LINES, ".csv": CSV, ".json": JSON, ".parquet": PARQUET}


class TransformFormat(Struct, frozen=True, kw_only=True):
    """The fields of CreateTransformJob that depend on the content type.

    Source: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html
    """

    content_type: str
    accept: str
    split_type: str
    batch_strategy: str
    assemble_with: str
    input_filter: str = "$"


def transform_format(
    uri: str,
    content_types: Sequence[str],
    response_types: Sequence[str],
    *,
    content_type: str | None = None,
    accept: str | None = None,
    input_filter: str | None = None,
) -> TransformFormat:
    """The format of a job on the input at `uri`, for a package that declares these types.

    Args:
        uri: the input; its suffix says what it holds.
        content_types: what the package accepts; empty where it does not say.
        response_types: what the package answers with; empty where it does not say.
        content_type: what the configuration says in place of both.
        accept: the same for answers.
        input_filter: what of each record the model is given, as a JSONPath.

    Raises:
        Invalid: there is a filter, and records that it can't be applied to.
    """
    given = content_type or _content_type(uri, content_types)
    wanted = accept or _accept(given, response_types)
    by_line = given in BY_LINE
    if input_filter and given not in (*BY_LINE, JSON):
        raise Invalid("input_filter", f"SageMaker filters CSV and JSON, and the input is {given}.")
    return TransformFormat(
        content_type=given,
        accept=wanted,
        split_type="Line" if by_line else "None",
        batch_strategy="MultiRecord" if by_line else "SingleRecord",
        assemble_with="Line" if wanted in BY_LINE or by_line else "None",
        input_filter=input_filter or "$",
    )


def _content_type(uri: str, declared: Sequence[str]) -> str:
    held = next((kind for suffix, kind in _SUFFIXES.items() if uri.endswith(suffix)), None)
    if held is not None and (held in declared or not declared):
        return held
    return next(
        (kind for kind in (JSON_LINES, CSV) if kind in declared), declared[0] if declared else held or JSON_LINES
    )


def _accept(content_type: str, declared: Sequence[str]) -> str:
    if content_type in declared or not declared:
        return content_type
    return next((kind for kind in (JSON_LINES, CSV) if kind in declared), declared[0])
