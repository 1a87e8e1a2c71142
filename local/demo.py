"""`make demo`: the whole loop, unattended and for real, on models trained on the spot.

Three versions of a small summariser climb from dev to prod by the people of the local service: the first is stopped by a
gate, the second and third reach prod, prod goes back to the second and forward to the third. Then a tabular model takes the
same way (local/demo_table.py). Everything reported was read
back through a plain boto3 client or over HTTP, as a user's own scripts would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import requests
from tqdm import tqdm

from local import MODELS_BUCKET, artifacts
from local.demo_table import GROUP as TABLE
from local.demo_table import TableStory
from local.http_client import Visitor
from local.ports import Ports
from local.waiting import Unexpected, until

ROOT = Path(__file__).resolve().parent.parent
GROUP = "harbour-summariser"
ENVIRONMENTS = ("dev", "test", "uat", "prod")
# The approvers of each environment, in the local identity provider; prod needs two.
APPROVERS = {"dev": ("ben",), "test": ("ann",), "uat": ("cho",), "prod": ("cho", "dan")}
RUN_STEPS = ("transform", "score", "evidence")
# v1 is trained too briefly on purpose, v2 well, and v3 continues from v2.
TRAINING = {1: 12.0, 2: 60.0, 3: 15.0}
# The last line of a successful demo; README.md shows it.
CLOSED = (
    f"the loop closed: {GROUP} v3 and {TABLE} v2 are live in every environment; version 1 of each failed a quality gate"
)


@dataclass
class Demo:
    """A running local service, and the observations of the demo."""

    web: str
    output: Path
    started: float = field(default_factory=time.monotonic)
    arns: dict[int, str] = field(default_factory=dict)
    visitors: dict[str, Visitor] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=lambda: {"group": GROUP, "versions": {}, "environments": {}})

    def say(self, who: str, what: str) -> None:
        """Print one line of the transcript: time, person, action."""
        tqdm.write(f"{time.monotonic() - self.started:7.1f} s  {who:<12} {what}")

    def visitor(self, name: str) -> Visitor:
        """Return a signed-in person; each signs in once."""
        if name not in self.visitors:
            self.visitors[name] = Visitor(self.web, name).sign_in()
            self.say(name, "signed in")
        return self.visitors[name]

    def mails(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.web}/_local/mailbox.json", timeout=30).json()
        return found

    def mail_for(self, version: int, environment: str) -> dict[str, Any] | None:
        """Return the newest mail that requests approval of a version for an environment."""
        for mail in self.mails():
            subject, link = mail["subject"], (mail["links"] or [""])[0]
            if f"[{environment}]" in subject and f"v{version}" in subject and "/approvals/" in link:
                return mail
        return None

    def registry(self, version: int) -> dict[str, Any]:
        """Return a version's state in the registry: approval status and one field for each environment."""
        found = boto3.client("sagemaker").describe_model_package(ModelPackageName=self.arns[version])
        metadata = found.get("CustomerMetadataProperties") or {}
        return {
            "ModelApprovalStatus": found["ModelApprovalStatus"],
            "environments": {name: metadata.get(name) for name in ENVIRONMENTS},
        }

    def live(self, environment: str) -> dict[str, Any]:
        """Return the live record of an environment; empty if there is none."""
        ssm = boto3.client("ssm")
        try:
            value = ssm.get_parameter(Name=f"/promotion/{GROUP}/{environment}/live")["Parameter"]["Value"]
        except ssm.exceptions.ParameterNotFound:
            return {}
        found: dict[str, Any] = json.loads(value)
        return found

    def record(self, version: int, step: str) -> None:
        """Add the registry's state after a step to the report."""
        steps = self.report["versions"].setdefault(str(version), {"arn": self.arns[version], "steps": []})["steps"]
        steps.append({"step": step, **self.registry(version)})


def train_all(folder: Path, demo: Demo) -> dict[int, tuple[Path, dict[str, Any]]]:
    """Train the three versions; return their archives and registered metrics."""
    from examples import train_summarizer as summarizer

    made: dict[int, tuple[Path, dict[str, Any]]] = {}
    for version, seconds in TRAINING.items():
        demo.say("data science", f"training v{version} for {seconds:.0f} s on one thread")
        before = folder / "v2" if version == 3 else None
        place = summarizer.train(folder / f"v{version}", seconds=seconds, seed=version, continue_from=before)
        metrics = summarizer.measure(place, folder / f"v{version}-score")
        told = {name: round(metrics["metrics"][name]["value"], 3) for name in ("rougeL", "exact_match")}
        demo.say("data science", f"v{version} on held-out logs: {told}")
        made[version] = (summarizer.pack(place), metrics)
    inputs, references = summarizer.write_held_out(folder / "held-out")
    s3 = boto3.client("s3")
    for environment in ENVIRONMENTS:
        s3.upload_file(str(inputs), MODELS_BUCKET, f"{GROUP}/{environment}/input.jsonl")
        s3.upload_file(str(references), MODELS_BUCKET, f"{GROUP}/{environment}/references.jsonl")
    return made


def register(demo: Demo, version: int, archive: Path, metrics: dict[str, Any]) -> None:
    """Register a version with an ordinary boto3 client, and wait for its mail."""
    from examples import train_summarizer as summarizer

    begun = time.monotonic()
    demo.arns[version] = summarizer.register(
        archive,
        metrics,
        group=GROUP,
        bucket=MODELS_BUCKET,
        requested_by="dee",
        task=summarizer.TASK,
        baseline=summarizer.baseline(),
        description=f"Summaries of harbour logs, version {version}.",
        metadata={"licence": "apache-2.0"},
    )
    registered = time.monotonic()
    demo.say("dee", f"registered v{version}: {demo.arns[version]}")
    mail = until(f"the mail about v{version}", lambda: demo.mail_for(version, "dev"))
    seconds = time.monotonic() - registered
    demo.say("service", f"mailed {', '.join(mail['to'])}: {mail['subject']} ({seconds:.2f} s)")
    until(f"four fields on v{version}", lambda: all(demo.registry(version)["environments"].values()))
    demo.record(version, "registered")
    kept = demo.report["versions"][str(version)]
    kept["registration_to_mail_s"], kept["upload_s"] = round(seconds, 3), round(registered - begun, 3)


def approve(demo: Demo, version: int, environment: str) -> None:
    """Have all needed approvers approve, and wait for the parameter."""
    mail = until(f"the mail that asks v{version} into {environment}", lambda: demo.mail_for(version, environment))
    link, seconds = mail["links"][0], 0.0
    for name in APPROVERS[environment]:
        person = demo.visitor(name)
        decided = time.monotonic()
        answer = person.decide(link, "Approved", f"The evidence holds for {environment}.")
        if answer.status_code != 303:
            raise Unexpected(f"{name} could not approve v{version} for {environment}: {answer.text}")
        demo.say(name, f"approved v{version} for {environment}")
    until(
        f"v{version} live in {environment}",
        lambda: demo.live(environment).get("model_package_version") == version,
        pause_s=0.02,
    )
    seconds = time.monotonic() - decided
    demo.say("service", f"v{version} is live in {environment} ({seconds:.2f} s after the decision)")
    until("the registry", lambda: demo.registry(version)["environments"][environment] == "Approved")
    demo.record(version, f"approved for {environment}")
    record = demo.live(environment)
    kept = demo.report["environments"].setdefault(environment, {"decisions": []})
    kept["decisions"].append(
        {"version": version, "approved_by": record["approved_by"], "decision_to_parameter_s": round(seconds, 3)}
    )


def follow_run(demo: Demo, version: int, environment: str) -> dict[str, Any]:
    """Wait for the inference run that the promotion started; return the measured metrics."""
    sagemaker = boto3.client("sagemaker")
    following = ENVIRONMENTS[ENVIRONMENTS.index(environment) + 1] if environment != "prod" else None

    def job(kind: str) -> str:
        called = {"transform": ("list_transform_jobs", "Transform"), "score": ("list_processing_jobs", "Processing")}
        method, word = called[kind]
        found = getattr(sagemaker, method)(NameContains=f"promotion-{environment}-v{version}-")
        jobs = found[f"{word}JobSummaries"]
        return str(jobs[0][f"{word}JobStatus"]) if jobs else ""

    with tqdm(total=len(RUN_STEPS), desc=f"inference v{version} {environment}", leave=False, file=sys.stderr) as bar:
        for step in RUN_STEPS[:2]:
            bar.set_postfix_str(step)
            status = until(f"{step} of v{version} in {environment}", lambda step=step: _ended(job(step)))  # type: ignore[misc]
            if status != "Completed":
                raise Unexpected(f"{step} of v{version} in {environment} ended as {status}; see build/local.")
            bar.update()
        bar.set_postfix_str(RUN_STEPS[2])
        if following:
            until(f"the mail with the metrics of {environment}", lambda: demo.mail_for(version, following))
        bar.update()
    metrics = _run_metrics(environment, version)
    told = {name: round(metrics["metrics"][name]["value"], 3) for name in ("rougeL", "exact_match")}
    demo.say("pipeline", f"ran v{version} in {environment}: {told}, {metrics['counts']['records']} records")
    kept = demo.report["environments"].setdefault(environment, {"decisions": []})
    kept.setdefault("metrics", {})[str(version)] = told
    return metrics


def _ended(status: str) -> str:
    return status if status in ("Completed", "Failed", "Stopped") else ""


def _run_metrics(environment: str, version: int) -> dict[str, Any]:
    """Return the newest metrics of a run from the evidence bucket."""
    s3 = boto3.client("s3")
    for bucket in (found["Name"] for found in s3.list_buckets()["Buckets"]):
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{GROUP}/{environment}/{environment}-v{version}-")
        keys = [found["Key"] for found in listed.get("Contents", []) if found["Key"].endswith("/score/metrics.json")]
        if keys:
            document: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=max(keys))["Body"].read())
            return document
    raise Unexpected(f"no metrics of v{version} in {environment} were kept.")


def be_stopped(demo: Demo, version: int, environment: str) -> None:
    """Check that mail and page name a failed quality gate, and that approving anyway is refused."""
    mail = until("the mail about a failed gate", lambda: demo.mail_for(version, environment))
    demo.say("service", f"mailed {', '.join(mail['to'])}: {mail['subject']}")
    link, person = mail["links"][0], demo.visitor("ann")
    page = person.read(link)
    failed = [gate for gate in page["gates"] if not gate["open"]]
    if page["may_decide"] or not failed:
        raise Unexpected(f"v{version} was not stopped at {environment}: {page['why_not']}")
    answer = person.decide(link, "Approved", "Let it through anyway.")
    if answer.status_code != 403:
        raise Unexpected(f"an approval passed a failed gate: {answer.status_code}")
    demo.say("ann", f"tried to approve v{version} for {environment} anyway: {answer.status_code}, {failed[0]['why']}")
    demo.record(version, f"refused at {environment}")
    demo.report["versions"][str(version)]["stopped"] = {
        "environment": environment,
        "subject": mail["subject"],
        "gates": failed,
        "why_not": page["why_not"],
        "status_of_post": answer.status_code,
    }


def roll(demo: Demo, to_version: int, reason: str, *versions: int) -> None:
    """Roll prod back or forward to a version that was live there, by its page."""
    answer = demo.visitor("dan").roll_back(GROUP, "prod", reason, to_version)
    if answer.status_code != 303:
        raise Unexpected(f"prod could not go to v{to_version}: {answer.text}")
    until(f"v{to_version} live in prod", lambda: demo.live("prod").get("model_package_version") == to_version)
    until("the registry", lambda: demo.registry(to_version)["environments"]["prod"] == "Approved")
    demo.say("dan", f"brought prod to v{to_version}: {reason}")
    for version in versions:
        demo.record(version, f"prod brought to v{to_version}")


def run(demo: Demo) -> None:
    """Run the demo, from the first registration to the last rollback."""
    made = train_all(demo.output / "models", demo)
    register(demo, 1, *made[1])
    approve(demo, 1, "dev")
    follow_run(demo, 1, "dev")
    be_stopped(demo, 1, "test")
    for version in (2, 3):
        register(demo, version, *made[version])
        for environment in ENVIRONMENTS:
            approve(demo, version, environment)
            follow_run(demo, version, environment)
    roll(demo, 2, "v3 misreads tide tables.", 2, 3)
    roll(demo, 3, "It was the tables; v3 is good.", 2, 3)
    check(demo)
    table = TableStory(demo.web, demo.output / "churn", demo.say, demo.visitor)
    demo.report["table"] = table.report
    table.run(APPROVERS)


def check(demo: Demo) -> None:
    """Check the end state, read by boto3 and by the command.

    Raises:
        Unexpected: the state is different.
    """
    for environment in ENVIRONMENTS:
        record = demo.live(environment)
        demo.report["environments"][environment] |= {
            "live_version": record["model_package_version"],
            "approved_by": record["approved_by"],
            "sequence": record["sequence"],
        }
        if record["model_package_version"] != 3:
            raise Unexpected(f"{environment} has v{record['model_package_version']} live, not v3.")
    first = demo.registry(1)
    if first != {
        "ModelApprovalStatus": "Approved",
        "environments": {"dev": "Superseded", "test": first["environments"]["test"], "uat": "PendingManualApproval",
                         "prod": "PendingManualApproval"},
    } or first["environments"]["test"] == "Approved":  # fmt: skip
        raise Unexpected(f"v1 ended as {first}.")
    for command in (["resolve", GROUP, "prod", "--artifact"], ["history", GROUP], ["status", GROUP]):
        ended = subprocess.run(
            [sys.executable, "-m", "promotion.cli", *command], check=False, cwd=ROOT, capture_output=True, text=True
        )
        if ended.returncode:
            raise Unexpected(f"promotion {' '.join(command)} ended with {ended.returncode}: {ended.stderr}")
        demo.say("pipeline", f"promotion {' '.join(command)}: {ended.stdout.splitlines()[0]}")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m local.demo", description=(__doc__ or "").split("\n")[0])
    options.add_argument("--output", type=Path, default=ROOT / "build" / "demo")
    output = options.parse_args().output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    ports = Ports.of_environment(os.environ)
    home = output / "local"
    os.environ |= {
        "AWS_ENDPOINT_URL": ports.aws_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PROMOTION_PUBLIC_KEY": str(home / "promotion.pub"),
    }
    with (output / "local.txt").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "local", "--home", str(home), "--private"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        demo = Demo(ports.http_url, output)
        try:
            demo.say("service", f"starting on {ports.http_url}")
            until("the local service", lambda: is_up(service, ports.http_url, output), patience_s=120)
            demo.say("service", f"up; the mailbox is at {ports.http_url}/_local/mailbox")
            trouble = ""
            try:
                run(demo)
            except Unexpected as error:
                trouble = str(error)
            demo.report |= {"closed": not trouble, "trouble": trouble}
            demo.report["seconds"] = round(time.monotonic() - demo.started, 1)
            artifacts.save_report(output, demo.report)
            artifacts.save_mails(output / "mails", ports.http_url, demo.mails())
            demo.say("demo", trouble or CLOSED)
            demo.say(
                "demo",
                f"report: {(output / 'report.json').relative_to(ROOT)}; mails: {(output / 'mails').relative_to(ROOT)}/",
            )
            return 1 if trouble else 0
        finally:
            service.terminate()
            service.wait(timeout=60)


def is_up(service: subprocess.Popen[bytes], web: str, output: Path) -> bool:
    """Return True once the local service answers at `web`; end with its output if the process has ended."""
    if service.poll() is not None:
        raise SystemExit((output / "local.txt").read_text())
    try:
        return requests.get(f"{web}/healthz", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        # On a busy machine, the server listens before it can answer.
        return False


if __name__ == "__main__":
    sys.exit(main())
