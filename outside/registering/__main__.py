"""`python -m outside.registering [NAME …]`: each snippet of docs/registering.md in its SDK's own environment.

`example_KIND` runs examples/train_tabular.py and examples/register_tabular_sdk.py for one kind of model. Then the page of what
was registered has to show all that the snippet gave. outside/locks/NAME.txt names an SDK's packages with their hashes.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local import MODELS_BUCKET
from local.containers import packages
from local.http_client import Visitor
from local.service import LocalService
from local.welcome import environment as variables
from outside.environments import LOCKS, environment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "registering.md"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/churn:1"
SECONDS = 300
EXAMPLES = {"example_xgboost": "xgboost", "example_scikit_learn": "scikit-learn"}
# The lock of a snippet that runs in another's environment.
SHARED = {"sagemaker_pipeline": "sagemaker_v2", **dict.fromkeys(EXAMPLES, "sagemaker_v2")}
# The fields that the page must show, by the name of the snippet.
METRICS = {
    **dict.fromkeys(("boto3", "sagemaker_v2", "sagemaker_pipeline", "sagemaker_v3", "mlflow"), "accuracy"),
    **dict.fromkeys(EXAMPLES, "auc"),
}
GROUPS = {
    "boto3": "churn-boto3",
    "aws_cli": "churn-cli",
    "sagemaker_v2": "churn-v2",
    "sagemaker_pipeline": "churn-step",
    "sagemaker_v3": "churn-v3",
    "mlflow": "churn-mlflow",
    **{name: f"churn-{kind}" for name, kind in EXAMPLES.items()},
}


def snippets() -> dict[str, tuple[str, str]]:
    """The page's snippets by name: their language and their text."""
    found = re.findall(r"^<!-- run: (\w+) -->\n```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return {name: (language, text) for name, language, text in found}


def examples(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Commands of the examples, in the form of snippets: trained by their container's libraries, registered by the SDK."""
    return {
        name: (
            "sh",
            f"{packages.python()} {ROOT}/examples/train_tabular.py {EXAMPLES[name]} {name}\n"
            f"python {ROOT}/examples/register_tabular_sdk.py {EXAMPLES[name]} {name} --group {GROUPS[name]} "
            "--bucket $BUCKET --requested-by dee@example.com",
        )
        for name in names
    }


def files() -> dict[str, str]:
    """The files that the page shows, by name."""
    return dict(re.findall(r"^<!-- file: ([\w.]+) -->\n```\w+\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the snippets that are named, or all; returns 1 where one fails, or its page lacks something."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = [*snippets(), *EXAMPLES]
    parser = argparse.ArgumentParser(prog="python -m outside.registering", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    chosen = parser.parse_args(arguments).names or known
    pythons = {name: environment(LOCKS / f"{SHARED.get(name, name)}.txt") for name in chosen}
    texts = snippets() | examples([name for name in chosen if name in EXAMPLES])
    with LocalService(inference=False) as service, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _prepare(folder)
        role = _role(service)
        ann = Visitor(service.url, "ann").sign_in()
        failed = [name for name in chosen if not _passes(name, *texts[name], pythons[name], folder, role, service, ann)]
    logging.info("%d of %d snippets and examples pass", len(chosen) - len(failed), len(chosen))
    return int(bool(failed))


def _prepare(folder: Path) -> None:
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("model.bin")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"bytes"))
    for name, text in files().items():
        (folder / name).write_text(text)


def _role(service: LocalService) -> str:
    """The execution role of the pipeline."""
    iam = service.session().client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    actions = [
        f"sagemaker:{each}" for each in ("CreateModelPackage", "CreateModelPackageGroup", "DescribeModelPackageGroup")
    ]
    allow = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    documents = [json.dumps({"Version": "2012-10-17", "Statement": [each]}) for each in (trust, allow)]
    arn: str = iam.create_role(RoleName="pipeline", AssumeRolePolicyDocument=documents[0])["Role"]["Arn"]
    iam.put_role_policy(RoleName="pipeline", PolicyName="registers", PolicyDocument=documents[1])
    return arn


def _passes(
    name: str, language: str, text: str, python: str, folder: Path, role: str, service: LocalService, ann: Visitor
) -> bool:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON", "MLFLOW_"))}
    own = {
        **variables(service.ports, service.home),
        "BUCKET": MODELS_BUCKET,
        "IMAGE": IMAGE,
        "ROLE": role,
        "PATH": f"{Path(python).parent}{os.pathsep}{clean.get('PATH', '')}",
        "HOME": str(folder),
        # In place of a tracking server.
        "MLFLOW_TRACKING_URI": str(folder / "mlruns"),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    command = [python, "-c", text] if language == "python" else ["sh", "-euc", text]
    done = subprocess.run(
        command, cwd=folder, env={**clean, **own}, timeout=SECONDS, capture_output=True, text=True, check=False
    )
    problems = [done.stderr[-3000:]] if done.returncode else _lacks(name, service, ann)
    logging.info("%-20s %s", name, "failed" if problems else "ok")
    for problem in problems:
        logging.info("%s", problem)
    return not problems


def _lacks(name: str, service: LocalService, ann: Visitor) -> list[str]:
    """Return what the version's page lacks of its snippet's input."""
    group = GROUPS[name]
    document: dict[str, Any] = service.wait_for(lambda: _version(ann, group))
    package = document["package"]
    said = {
        "requester": (package["requester"] or {}).get("name") == "dee@example.com",
        "description": bool(package["description"]),
        "artifact": bool(package["containers"][0]["sha256"]) and not package["problem"],
        "content types": package["described"].get("Content types") == "text/csv",
        "metrics": name not in METRICS or METRICS[name] in document["evidence"][0]["metrics"],
    }
    if name == "boto3":
        said |= {
            "model card": any("leaving" in section["text"] for section in package["card"]),
            "reports": {"Bias report", "Explainability report"} <= set(package["described"]),
            "domain and task": package["described"].get("Task") == "CLASSIFICATION",
            "lineage": {"apache-2.0", "contracts-2026-10", "4f1c2d9"} <= {row["value"] for row in package["lineage"]},
        }
    return [f"the page lacks its {what}" for what, there in said.items() if not there]


def _version(ann: Visitor, group: str) -> dict[str, Any]:
    found: dict[str, Any] = ann.read(f"/models/{group}/versions/1")
    ready = "package" in found and found["package"]["containers"][0]["sha256"] and found["evidence"]
    return found if ready else {}


if __name__ == "__main__":
    sys.exit(main())
