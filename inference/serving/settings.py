"""Hosting settings, read from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from inference.decoders.settings import BATCH_TOKENS, number
from promotion.errors import Invalid

CONCURRENT_REQUESTS = "MAX_CONCURRENT_REQUESTS"
BATCH_DELAY_MS = "MAX_BATCH_DELAY_MS"
# LMI's variable for the format of streams.
OUTPUT_FORMATTER = "OPTION_OUTPUT_FORMATTER"
EULA, ACCEPT_EULA = "EULA", "ACCEPT_EULA"
# SageMaker's variables in the container of a transform job.
SAGEMAKER_BATCH = "SAGEMAKER_BATCH"
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"

TASK = "HF_TASK"

SSE, JSON_LINES = "sse", "jsonlines"


@dataclass(frozen=True, slots=True)
class Hosting:
    """Limits for admission, batching and answering of requests."""

    most_requests: int = 512
    batch_delay_ms: int = 5
    batch_tokens: int | None = None
    stream_form: str = SSE
    # Answer a payload as one batch: a transform job has one client, so fairness between clients is not needed.
    whole_payloads: bool = False
    eula: str = ""
    eula_accepted: bool = False
    # The field that Hugging Face's clients read, if the task is named summarization or translation.
    task_field: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Hosting:
        """Read the settings from environment variables; raise Invalid if one can't be read."""
        form = environment.get(OUTPUT_FORMATTER, "").strip() or SSE
        if form not in (SSE, JSON_LINES):
            raise Invalid(OUTPUT_FORMATTER, f"must be {SSE} or {JSON_LINES}, not {form[:40]!r}.")
        delay = environment.get(BATCH_DELAY_MS, "").strip() or "5"
        if not delay.isdecimal() or int(delay) > 10_000:
            raise Invalid(BATCH_DELAY_MS, f"must be 0 to 10000 milliseconds, not {delay[:40]!r}.")
        return cls(
            number(environment, CONCURRENT_REQUESTS) or 512,
            int(delay),
            number(environment, BATCH_TOKENS),
            form,
            environment.get(SAGEMAKER_BATCH, "").lower() == "true",
            environment.get(EULA, "").strip(),
            environment.get(ACCEPT_EULA, "").strip().lower() == "true",
            task_field(environment.get(TASK, "")),
        )

    def eula_missing(self, attributes: str) -> str | None:
        """Return the refusal if neither the request nor the deployment accepted the package's licence."""
        if not self.eula or self.eula_accepted or "accept_eula=true" in re.split(r"[;,\s]+", attributes.lower()):
            return None
        return (
            f"This model is under an end-user licence agreement ({self.eula}). Who accepts it sends the custom attribute "
            f"accept_eula=true with each request, or deploys with {ACCEPT_EULA}=true in the environment."
        )


def task_field(task: str) -> str | None:
    """Return `summary_text` or `translation_text` if the task is named like that, else None."""
    kind = task.strip().lower().split("_")[0]
    return {"summarization": "summary_text", "translation": "translation_text"}.get(kind)
