"""The container's side of SageMaker's hosting and batch transform contract, on one port.

One thread loads and owns the model; the event loop connects it with the clients (inference/serving).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import threading
from collections.abc import Callable, Mapping

import uvicorn

from inference.decoders.task import TextGeneration
from inference.serving import ModelHost
from inference.serving.app import App
from inference.serving.batcher import Batcher
from inference.serving.connections import DRAIN_SECONDS, Connection, Server
from inference.serving.meter import Meter
from inference.serving.settings import Hosting
from inference.serving.steps import StepHost
from inference.tasks.pipeline import Pipeline
from promotion.errors import IntegrityError, Invalid, PromotionError

_END_SECONDS = 3
# The length of the accept queue, so that the kernel doesn't refuse a burst of clients.
_BACKLOG = 4_096

EXIT_TROUBLE, EXIT_USAGE, EXIT_INTEGRITY = 1, 2, 4

log = logging.getLogger("inference")


class Model:
    """The thread that owns the model; `exit_code` is set if loading failed or the thread ended by an error."""

    def __init__(self, load: Callable[[], Pipeline], hosting: Hosting, meter: Meter) -> None:
        """Prepare a model that is loaded on a thread of its own.

        Args:
            load: Loads the pipeline.
            hosting: Limits and time-outs.
            meter: Counters for /metrics.
        """
        self._load, self._hosting, self._meter = load, hosting, meter
        self.pipeline: Pipeline | None = None
        self.host: ModelHost | None = None
        self.exit_code = 0
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self, *, ready: Callable[[], None], ended: Callable[[], None]) -> None:
        """Start the thread, which loads and answers; it calls `ready` once loaded, and `ended` at its end."""

        def work() -> None:
            self.prepare()
            if self.host is not None:
                ready()
                self._serve(self.host)
            ended()

        # A daemon thread, so that a drained server doesn't wait for a text that nobody reads.
        self._thread = threading.Thread(target=work, name="model", daemon=True)
        self._thread.start()

    def prepare(self) -> None:
        """Load the model, once, on the thread that will answer."""
        try:
            pipeline = self._load()
        except IntegrityError as error:
            log.error("refused: %s", error)
            self.exit_code = EXIT_INTEGRITY
        except Invalid as error:
            log.error("%s", error)
            self.exit_code = EXIT_USAGE
        except PromotionError as error:
            log.error("%s", error)
            self.exit_code = EXIT_TROUBLE
        except Exception:
            log.exception("the model does not load")
            self.exit_code = EXIT_TROUBLE
        else:
            self.host = host_of(pipeline, self._hosting, self._meter)
            self.pipeline = pipeline

    def give_up(self) -> None:
        """Fail all waiting requests, because the server is being stopped."""
        if self.host is not None:
            self._stopped = True
            self.host.stop()

    def stop(self) -> None:
        """Stop answering; running requests get an error."""
        self._stopped = True
        if self.host is not None:
            self.host.stop()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _serve(self, host: ModelHost) -> None:
        try:
            host.run()
        except Exception:
            log.exception("the model's thread died")
        if not self._stopped:
            self.exit_code = EXIT_TROUBLE
            host.stop()


def host_of(pipeline: Pipeline, hosting: Hosting, meter: Meter) -> ModelHost:
    """Return the host that suits the pipeline's task."""
    task = pipeline.task
    if isinstance(task, TextGeneration):
        return StepHost(task, meter)
    return Batcher(
        task, meter, delay_ms=hosting.batch_delay_ms, tokens=hosting.batch_tokens, whole=hosting.whole_payloads
    )


def serve(load: Callable[[], Pipeline], *, host: str, port: int, environment: Mapping[str, str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then finish begun requests. Returns the process's exit code.

    Raises:
        Invalid: an environment variable can't be read.
    """
    hosting, meter = Hosting.of(os.environ if environment is None else environment), Meter()
    _allow_connections()
    model = Model(load, hosting, meter)
    app = App(model, hosting, meter)
    config = uvicorn.Config(
        app.routes(),
        http=Connection,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=75,
    )
    server = Server(config, closing=app.close, overdue=model.give_up)
    # uvicorn raises the signal again after draining; a drained server has ended successfully.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}

    def ended() -> None:
        server.should_exit = True

    model.start(ready=lambda: log.info("ready on %s:%d", host, port), ended=ended)
    try:
        server.run()
    except SystemExit:
        # uvicorn exits like this if the port is in use, and has logged it.
        log.error("can't serve on %s:%d", host, port)
        return EXIT_TROUBLE
    finally:
        model.stop()
        server.ended()
        for number, handler in before.items():
            signal.signal(number, handler)
    return model.exit_code


def _allow_connections() -> None:
    """Raise the limit of open files to the maximum, because there may be more clients than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard)
        )
