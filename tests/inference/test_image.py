"""The inference image holds its own lock and nothing else, so `inference` may import nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In the root lock, but not in the image: what the Lambdas, the pages and the tests stand on.
ABSENT = (
    "msgspec",
    "joserfc",
    "itsdangerous",
    "aws_lambda_powertools",
    "moto",
    "aws_cdk",
    "pandas",
)
PROGRAM = """
import json, sys
modules, absent = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(absent))
for name in modules:
    __import__(name)
"""


def test_everything_in_inference_loads_from_the_images_lock() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "inference").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    given = [json.dumps(each) for each in (modules, ABSENT)]

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *given], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
