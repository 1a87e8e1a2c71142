"""Train a churn model on data made on the spot, as XGBoost's or scikit-learn's SageMaker container serves it.

`python examples/train_tabular.py xgboost FOLDER` writes model.tar.gz, input.csv and references.csv (held out, without a header as
those containers take CSV), train.csv for a baseline of drift, and metrics.json. It needs xgboost or scikit-learn, as
local/containers/requirements.txt has them. examples/register_tabular.py registers what it wrote.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score

TRAINED_ON, HELD_OUT = 4000, 800
# Code for scikit-learn's container: the artifact has the functions that load and answer.
SCRIPT = '''"""How scikit-learn's container loads the model and answers: a score a line."""

import os

import joblib
import numpy as np


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def input_fn(data, content_type):
    text = data.decode() if isinstance(data, bytes) else data
    return np.loadtxt(text.splitlines(), delimiter=",", ndmin=2)


def predict_fn(data, model):
    return model.predict_proba(data)[:, 1]
'''


def customers(count: int, seed: int, *, shifted: bool = False) -> tuple[Any, Any]:
    """Months, calls, charge and contract of customers, and whether they left; `shifted` ones call far more often."""
    chance = np.random.default_rng(seed)
    months = chance.integers(1, 72, count)
    calls = chance.poisson(6.0 if shifted else 2.0, count)
    charge = chance.normal(65, 20, count).round(2)
    contract = chance.integers(0, 3, count)
    score = 0.5 + 0.5 * calls - 0.05 * months + 0.02 * (charge - 65) - 0.9 * contract
    left = chance.random(count) < 1 / (1 + np.exp(-score))
    return np.column_stack([months, calls, charge, contract]).astype(float), left.astype(int)


def train(kind: str, features: Any, labels: Any, folder: Path, *, weak: bool) -> Any:
    """Write the model's files into the folder and return what scores a table."""
    # Charge and contract alone tell little: a model that a gate should stop.
    seen = features.copy()
    if weak:
        seen[:, :2] = 0
    if kind == "xgboost":
        import xgboost

        settings = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.2, "nthread": 1, "seed": 1}
        booster = xgboost.train(settings, xgboost.DMatrix(seen, label=labels), num_boost_round=60)
        booster.save_model(str(folder / "xgboost-model.ubj"))
        (folder / "xgboost-model.ubj").rename(folder / "xgboost-model")
        return lambda table: booster.predict(xgboost.DMatrix(table))
    import joblib

    model = GradientBoostingClassifier(n_estimators=60, max_depth=3, random_state=1).fit(seen, labels)
    joblib.dump(model, folder / "model.joblib")
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "inference.py").write_text(SCRIPT, encoding="utf-8")
    return lambda table: model.predict_proba(table)[:, 1]


def pack(folder: Path, archive: Path) -> None:
    """Write `model.tar.gz`: the same bytes for the same files."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                member = tarfile.TarInfo(path.relative_to(folder).as_posix())
                member.size = path.stat().st_size
                tar.addfile(member, io.BytesIO(path.read_bytes()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["xgboost", "scikit-learn"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--weak", action="store_true", help="leave out the most informative columns")
    parser.add_argument("--shifted", action="store_true", help="use different customers as test data")
    options = parser.parse_args()
    files = options.folder / "model"
    files.mkdir(parents=True, exist_ok=True)
    features, labels = customers(TRAINED_ON, options.seed)
    answer = train(options.kind, features, labels, files, weak=options.weak)
    pack(files, options.folder / "model.tar.gz")
    held_out, truth = customers(HELD_OUT, options.seed + 1, shifted=options.shifted)
    for name, table in (("train.csv", features), ("input.csv", held_out), ("references.csv", truth.reshape(-1, 1))):
        np.savetxt(options.folder / name, table, delimiter=",", fmt="%g")
    measured = {"auc": {"value": float(roc_auc_score(truth, answer(held_out))), "n": HELD_OUT}}
    (options.folder / "metrics.json").write_text(json.dumps({"task": "binary-classification", "metrics": measured}))


if __name__ == "__main__":
    main()
