"""Answer like XGBoost's or scikit-learn's container: `tabular.py xgboost` or `scikit-learn`; needs requirements.txt.

Requests are handled by the Transformer of AWS's own `sagemaker-inference` toolkit, with the functions of the package's
script below code/, if it has one. Only the HTTP server and the input and output formats of XGBoost's container are our
own.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MODEL = Path(os.environ["SM_MODEL_DIR"])
# The toolkit reads these when it is imported.
os.environ["SAGEMAKER_BASE_DIR"] = str(MODEL.parent)
sys.path.insert(0, str(MODEL / "code"))

import numpy as np  # noqa: E402
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler  # noqa: E402
from sagemaker_inference.errors import UnsupportedFormatError  # noqa: E402
from sagemaker_inference.transformer import Transformer  # noqa: E402

CSV, JSON, JSON_LINES, LIBSVM = "text/csv", "application/json", "application/jsonlines", "text/libsvm"


class ScikitLearn(DefaultInferenceHandler):  # type: ignore[misc]
    """Defaults of scikit-learn's container for functions that the script lacks; it must have `model_fn`."""

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """Read CSV as numbers, one row for each record, also for a single record; other types as the toolkit does."""
        if content_type == CSV:
            return np.loadtxt(input_data.splitlines(), delimiter=",", dtype=np.float32, ndmin=2)
        return super().default_input_fn(input_data, content_type)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """Return the model's predictions."""
        return model.predict(data)


class XGBoost(DefaultInferenceHandler):  # type: ignore[misc]
    """XGBoost's container without a script: https://github.com/aws/sagemaker-xgboost-container."""

    def default_model_fn(self, model_dir: str, context: Any = None) -> Any:
        """Load the booster from the folder's only file, in XGBoost's own format or pickled."""
        import xgboost

        files = sorted(path for path in Path(model_dir).iterdir() if path.is_file())
        file = next((path for path in files if path.name == "xgboost-model"), files[0] if len(files) == 1 else None)
        if file is None:
            raise ValueError("the artifact has no file xgboost-model.")
        try:
            booster = xgboost.Booster()
            booster.load_model(str(file))
        except xgboost.core.XGBoostError:
            # Unpickled as in the container; the artifact was approved.
            booster = pickle.loads(file.read_bytes())  # noqa: S301
        return booster

    def default_input_fn(self, input_data: Any, content_type: str, context: Any = None) -> Any:
        """Read CSV and libsvm as the container does; an empty cell is a missing value."""
        import xgboost

        text = input_data.decode() if isinstance(input_data, bytes) else input_data
        lines = [line for line in text.splitlines() if line.strip()]
        if content_type == CSV:
            rows = [[float(cell) if cell.strip() else np.nan for cell in line.split(",")] for line in lines]
            return xgboost.DMatrix(np.array(rows, dtype=np.float32))
        if content_type == LIBSVM:
            pairs = [dict(part.split(":") for part in line.split() if ":" in part) for line in lines]
            width = 1 + max((int(index) for row in pairs for index in row), default=0)
            table = np.full((len(pairs), width), np.nan, dtype=np.float32)
            for number, row in enumerate(pairs):
                for index, value in row.items():
                    table[number, int(index)] = float(value)
            return xgboost.DMatrix(table)
        raise UnsupportedFormatError(content_type)

    def default_predict_fn(self, data: Any, model: Any, context: Any = None) -> Any:
        """Return the booster's scores."""
        return model.predict(data, validate_features=False)

    def default_output_fn(self, prediction: Any, accept: str, context: Any = None) -> Any:
        """Write one line for each record in a batch job, or one line with commas on an endpoint."""
        scores = prediction.tolist()
        named = [{"score": score} for score in scores]
        if accept == JSON:
            return json.dumps({"predictions": named}), JSON
        if accept == JSON_LINES:
            return "".join(json.dumps(each) + "\n" for each in named), JSON_LINES
        cells = [",".join(map(str, score)) if isinstance(score, list) else str(score) for score in scores]
        return ("\n" if os.environ.get("SAGEMAKER_BATCH") == "true" else ",").join(cells), CSV


class Context:
    """The view of one request that the toolkit expects of a model server."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": str(MODEL)}
        self.request_processor = [SimpleNamespace(get_request_properties=lambda: headers)]
        self.status, self.content_type = 200, JSON

    def set_response_status(self, code: int, phrase: str) -> None:
        """Set the status, which the toolkit chooses for errors."""
        self.status = code

    def set_response_content_type(self, index: int, value: str) -> None:
        """Set the answer's content type."""
        self.content_type = value


TRANSFORMER = Transformer({"xgboost": XGBoost, "scikit-learn": ScikitLearn}[sys.argv[1]]())


class Server(BaseHTTPRequestHandler):
    """GET /ping, POST /invocations."""

    def do_GET(self) -> None:
        """Answer that the container is healthy; the model is loaded before the first request."""
        self._say(200 if self.path == "/ping" else 404, "", JSON)

    def do_POST(self) -> None:
        """Answer a request by the toolkit."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = {"Content-Type": self.headers.get("Content-Type", CSV), "Accept": self.headers.get("Accept", CSV)}
        context = Context(given)
        [answer] = TRANSFORMER.transform([{"body": body}], context)
        if context.status != 200:
            sys.stderr.write(f"{answer}\n")
        self._say(context.status, answer, context.content_type)

    def _say(self, status: int, answer: Any, content_type: str) -> None:
        body = answer if isinstance(answer, bytes) else str(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server calls it
        """Log nothing, because a line for each request would hide the model's own output."""


if __name__ == "__main__":
    # Loaded before the server starts, so that a model that can't be loaded ends the container.
    TRANSFORMER.validate_and_initialize(model_dir=str(MODEL), context=Context({}))
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), port), Server).serve_forever()
