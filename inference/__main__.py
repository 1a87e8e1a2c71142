"""`python -m inference COMMAND`: each command's module is imported only when it is called."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from promotion.errors import IntegrityError, Invalid, NotApproved, PromotionError, Refused

EXIT_TROUBLE, EXIT_USAGE, EXIT_NOT_APPROVED, EXIT_INTEGRITY, EXIT_REFUSED = 1, 2, 3, 4, 5


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run one command; returns its exit code (docs/inference.md)."""
    logging.basicConfig(
        level=environment.get("LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.captureWarnings(True)
    options = _parser(environment).parse_args(arguments)
    try:
        return int(options.command(options, environment))
    except NotApproved as error:
        return _ended(EXIT_NOT_APPROVED, error)
    except IntegrityError as error:
        return _ended(EXIT_INTEGRITY, error)
    except Refused as error:
        return _ended(EXIT_REFUSED, error)
    except Invalid as error:
        return _ended(EXIT_USAGE, error)
    except (PromotionError, OSError) as error:
        return _ended(EXIT_TROUBLE, error)
    except KeyboardInterrupt:
        return 130


def _ended(code: int, error: Exception) -> int:
    print(f"inference: {error}", file=sys.stderr)
    return code


def _serve(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.commands import open_pipeline
    from inference.serving.serve import serve

    make = partial(open_pipeline, options, environment)
    named = {**environment, "HF_TASK": options.task or ""}
    return serve(make, host=options.host, port=options.port, environment=named)


def _batch(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.commands import batch

    return batch(options, environment)


def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.run import command

    return command(options, environment)


def _score(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.scoring.score import command

    return command(options)


def _hash(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.hash_command import command

    return command(options)


def _split(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.commands import split

    return split(options)


def _compare_prompts(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from inference.batch.compare_prompts import command

    return command(options, environment)


def _cutoffs(text: str) -> tuple[int, ...]:
    found = tuple(int(each) for each in text.split(","))
    if min(found) < 1:
        raise ValueError(text)
    return found


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference", description="Run approved models, and score their answers."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer /ping, /execution-parameters and /invocations")
    _model_options(serve, environment)
    port = environment.get("SAGEMAKER_BIND_TO_PORT") or environment.get("PORT") or "8080"
    serve.add_argument("--port", type=int, default=port)
    serve.add_argument("--host", default=environment.get("HOST", "0.0.0.0"))  # noqa: S104  # a container is reached from outside
    serve.set_defaults(command=_serve)
    score = commands.add_parser("score", help="join outputs with references: metrics.json and pictures")
    for name, needed, what in (
        ("outputs", True, "a file or folder of *.out or *.jsonl"),
        ("references", False, "a file or folder of *.jsonl; without it only speed is measured"),
        ("inputs", False, "the inputs, for drift, slices and samples"),
        ("output", True, "the folder to write to"),
        ("approval", False, "a live record (JSON) to stamp the metrics with"),
        ("gates", False, "gates (JSON) to draw"),
        ("live", False, "metrics (JSON) of the live version to draw beside"),
        ("baseline", False, "the training baseline (JSON) to measure drift against"),
    ):
        score.add_argument(f"--{name}", type=Path, required=needed, help=what)
    score.add_argument(
        "--task",
        default=environment.get("HF_TASK"),
        help="as in the package; translation adds chrF and BLEU; regression, binary-classification, "
        "multiclass-classification or ranking score a table",
    )
    score.add_argument("--prediction-field", help="tables: the column with the answer, by name or position")
    score.add_argument("--id-field", help="tables: the column by which outputs and references are joined")
    score.add_argument("--query-field", help="rankings: the column with the query")
    score.add_argument("--cutoffs", type=_cutoffs, help="rankings: the k of NDCG@k, such as 5,10")
    score.add_argument("--positive", help="tables: the positive class of a binary model")
    score.add_argument(
        "--threshold", type=float, default=0.5, help="tables: the least score of a positive or relevant record"
    )
    score.add_argument("--header", choices=("yes", "no"), help="tables: CSV begins with a line of names, or not")
    score.add_argument("--reference-field", help="the field with the reference (default: the first known one)")
    score.set_defaults(command=_score)

    batch = commands.add_parser("batch", help="transform a file or all files of a folder, on this machine")
    _model_options(batch, environment)
    batch.add_argument("--input", required=True, help="a file, a folder or an s3:// address")
    batch.add_argument("--output", required=True, help="a folder or an s3:// prefix; NAME becomes NAME.out")
    _transform_options(batch)
    batch.set_defaults(command=_batch)

    run = commands.add_parser("run", help="resolve the live version, run it, score it and report")
    run.add_argument("group")
    run.add_argument("environment")
    run.add_argument("--input", required=True, help="a file, a folder or an s3:// address")
    run.add_argument("--references", help="the same, with the expected answers")
    run.add_argument("--output", required=True, help="the place for transform/ and score/")
    run.add_argument("--hyper-params", default=environment.get("HYPER_PARAMS"), help="the whole job's parameters")
    run.add_argument("--reference-field", help="the field with the reference (default: the first known one)")
    run.add_argument("--gates", type=Path, help="gates (JSON) to draw")
    run.add_argument("--live", type=Path, help="metrics (JSON) of the live version to draw beside")
    run.add_argument("--event-bus", default=environment.get("EVENT_BUS_NAME"), help="default: the deployed service's")
    run.add_argument("--no-event", action="store_true", help="publish no event")
    run.add_argument(
        "--cache", type=Path, default=environment.get("PROMOTION_CACHE"), help="folder for downloaded artifacts"
    )
    _transform_options(run)
    run.set_defaults(command=_run)

    digest = commands.add_parser("hash", help="hash an artifact too large for a function, in one pass")
    chosen = digest.add_mutually_exclusive_group(required=True)
    chosen.add_argument("artifact", nargs="?", help="a file or an s3:// address")
    chosen.add_argument(
        "--plan", help="instead: JSON with several artifacts, each at a fixed version, as for the service's own jobs"
    )
    digest.add_argument("--output", help="a file or an s3:// address for the JSON (default: standard output)")
    digest.set_defaults(command=_hash)

    prompts = commands.add_parser("compare-prompts", help="score candidate prompts on a data set")
    _model_options(prompts, environment)
    prompts.add_argument("--input", type=Path, required=True, help="JSON Lines, each with id and variables")
    prompts.add_argument("--references", type=Path, required=True, help="JSON Lines with the expected answers")
    prompts.add_argument("--output", type=Path, required=True, help="the folder to write to")
    prompts.add_argument("--prompts", type=Path, help="a folder of templates (default: the artifact's own)")
    prompts.add_argument("--templates", help="their names, with commas between (default: all)")
    prompts.add_argument("--shots", help="numbers of examples to try, with commas between (default: each template's)")
    prompts.add_argument("--metric", help="the metric for the order (default: rougeL, for labels accuracy)")
    prompts.add_argument("--reference-field", help="the field with the reference (default: the first known one)")
    prompts.add_argument("--quiet", action="store_true", help="no progress bar")
    prompts.set_defaults(command=_compare_prompts)

    split = commands.add_parser("split", help="split a large input into parts, so that all instances of a job work")
    split.add_argument("--input", required=True, help="a file or an s3:// address")
    split.add_argument("--output", required=True, help="a folder or an s3:// prefix")
    split.add_argument("--lines", type=int, default=10_000, help="lines a part (default 10000)")
    split.set_defaults(command=_split)
    return parser


def _transform_options(parser: argparse.ArgumentParser) -> None:
    """A transform job's settings, by SageMaker's names."""
    parser.add_argument("--batch-strategy", default="MultiRecord", choices=["MultiRecord", "SingleRecord"])
    parser.add_argument("--max-payload-in-mb", type=int, default=6)
    parser.add_argument("--max-concurrent-transforms", type=int, default=1, help="processes, each with the model")
    parser.add_argument("--input-filter", default="$", help="JSONPath of the part of a record that the model gets")
    parser.add_argument("--output-filter", default="$", help="JSONPath of the part of an answer that is written")
    parser.add_argument("--join-source", default="None", choices=["None", "Input"])
    parser.add_argument(
        "--accept", default="application/jsonlines", help="text/csv is accepted; the lines are the same"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _model_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    folder = environment.get("SM_MODEL_DIR", "/opt/ml/model")
    manifest, task = environment.get("PROMOTION_MANIFEST_SHA256"), environment.get("HF_TASK")
    approval = environment.get("PROMOTION_APPROVAL_ID")
    parser.add_argument("--model-dir", type=Path, default=folder, help=f"the unpacked artifact (default {folder})")
    parser.add_argument("--manifest-sha256", default=manifest, help="the approved manifest's digest")
    parser.add_argument(
        "--unverified", action="store_true", help="load a model that was not approved, on your own machine"
    )
    parser.add_argument(
        "--task", default=task, help="text2text-generation, zero-shot-classification or text-generation"
    )
    parser.add_argument("--hyper-params", default=environment.get("HYPER_PARAMS"), help="the whole job's parameters")
    parser.add_argument("--approval-id", default=approval, help="stamped on every output line")


if __name__ == "__main__":
    from inference.models.cuda_compat import prefer_compat

    # Before anything imports torch: the loader reads its library path at the start of a process.
    prefer_compat(os.environ)
    sys.exit(main())
