"""The inference image holds its own lock and nothing else, so `inference` may import nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In the root lock, but not in the image: what the Lambdas, the pages and the tests stand on.
ABSENT = (
    "msgspec",
    "authlib",
    "joserfc",
    "itsdangerous",
    "aws_lambda_powertools",
    "moto",
    "aws_cdk",
    "pandas",
)


def test_everything_in_inference_loads_from_the_images_lock() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "inference").rglob("*.py"))
        if path.name != "__init__.py"
    ]
    program = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\nfor name in {modules!r}: __import__(name)"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
