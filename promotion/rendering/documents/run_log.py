"""The link to an inference run's log: CloudWatch's console, at the stream of its transform job."""

from __future__ import annotations

from urllib.parse import quote

from promotion.domain.model import Evidence

# https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
_GROUP = "/aws/sagemaker/TransformJobs"
_CONSOLES = {"aws-us-gov": "console.amazonaws-us-gov.com", "aws-cn": "console.amazonaws.cn"}


def run_log(package_arn: str, evidence: Evidence) -> dict[str, object] | None:
    """Return name and address of a run's log; None for registered and reported metrics, which have none."""
    parts = package_arn.split(":")
    if evidence.source != "inference" or not evidence.run_id or evidence.reporter or len(parts) < 6:
        return None
    console = _CONSOLES.get(parts[1], "console.aws.amazon.com")
    job = f"promotion-{evidence.run_id}"
    # The console escapes twice: %2F is $252F in its fragment.
    group, stream = (quote(quote(text, safe=""), safe="").replace("%", "$") for text in (_GROUP, job))
    address = f"https://{parts[3]}.{console}/cloudwatch/home?region={parts[3]}#logsV2:log-groups/log-group/{group}"
    return {"name": job, "link": f"{address}$3FlogStreamNameFilter$3D{stream}"}
