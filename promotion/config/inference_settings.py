"""Settings of inference runs: each environment's instances, and each group's input, references and scoring."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Evaluation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Input, references and scoring of a group's inference runs; None is derived from package and files.

    `input_filter` is Batch Transform's InputFilter, which selects the part of each record for the model, such as
    `$[1:]`. `task` is regression, binary-classification, multiclass-classification or ranking, for models that return
    numbers or classes. The fields name columns by name or by position from 0. `threshold` and `positive` are for binary
    models; `query_field` and `cutoffs` (the k of NDCG@k) are for rankings, whose `threshold` is the least relevance
    that counts.
    """

    input: str | None = None
    references: str | None = None
    content_type: str | None = None
    accept: str | None = None
    input_filter: Annotated[str, Meta(pattern=r"^\$", max_length=63)] | None = None
    task: Literal["regression", "binary-classification", "multiclass-classification", "ranking"] | None = None
    prediction_field: str | None = None
    reference_field: str | None = None
    id_field: str | None = None
    query_field: str | None = None
    cutoffs: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1, max_length=10)] | None = None
    positive: str | None = None
    threshold: float | None = None
    header: bool | None = None

    @property
    def score_arguments(self) -> list[str]:
        """Options for `python -m inference score`."""
        found: list[str] = []
        for name in ("task", "prediction_field", "reference_field", "id_field", "query_field", "positive", "threshold"):
            if (value := getattr(self, name)) is not None:
                found += [f"--{name.replace('_', '-')}", str(value)]
        if self.cutoffs is not None:
            found += ["--cutoffs", ",".join(map(str, self.cutoffs))]
        if self.header is not None:
            found += ["--header", "yes" if self.header else "no"]
        return found


class Inference(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Instances, input and references of inference runs.

    `reporters` are IAM principals (ARNs, `*` as wildcard) who may report their own evaluation instead of a run.
    """

    instance_type: str = "ml.g5.xlarge"
    transform_ami_version: str | None = None
    instance_count: Annotated[int, Meta(ge=1, le=20)] = 1
    longest_transform: str = "12h"
    score_instance_type: str = "ml.m5.xlarge"
    input: str = "s3://{bucket}/{group}/{environment}/input.jsonl"
    references: str = "s3://{bucket}/{group}/{environment}/references.jsonl"
    bucket: str = ""
    image: str | None = None
    base_image: str | None = None
    schedule: str | None = None
    max_payload_mb: Annotated[int, Meta(ge=0, le=100)] = 6
    max_concurrent_transforms: Annotated[int, Meta(ge=1, le=100)] = 1
    hyper_params: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    volume_key: str | None = None
    output_key: str | None = None
    network_isolation: bool = True
    reporters: tuple[str, ...] = ()

    @property
    def data_buckets(self) -> tuple[str, ...]:
        """Buckets that inputs and references are read from, and that manual runs write to."""
        named = {place.removeprefix("s3://").partition("/")[0] for place in (self.input, self.references)}
        return tuple(sorted({self.bucket, *named} - {"", "{bucket}"}))
