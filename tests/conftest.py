"""Conditions of every test: no real AWS in reach, one thread a process, and Hypothesis without a time limit."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.security.attacked import Attacked

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A test that forgets its fake must fail at a closed door rather than reach somebody's account.
for _name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
    os.environ.pop(_name, None)
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
)
# jsii writes a banner about Node's age on every start.
for _name in ("UNTESTED", "DEPRECATED", "END_OF_LIFE"):
    os.environ.setdefault(f"JSII_SILENCE_WARNING_{_name}_NODE_VERSION", "20")

# The same examples each time, at whatever pace the machine has: a gate that draws lots is none. To look for others, and many
# more of them: `pytest --hypothesis-profile=hunt`.
_ANY_PACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("repeatable", _ANY_PACE, derandomize=True, database=None)
settings.register_profile("hunt", _ANY_PACE, derandomize=False, max_examples=4000)
settings.load_profile("repeatable")

# Every session of botocore reads the models of AWS' services: once is enough.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

# Two workers share the files out in this order: what takes minutes begins first, so that neither waits for the other at the end.
_LONG_FIRST = ("local", "browser", "security", "faults", "infra", "inference", "identity")


class _Files(LoadFileScheduling):  # type: ignore[misc]
    """Hands out files; those that use the service under attack go to one worker, so that it is seeded once."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "attacked" if _attacks(file) else file


@functools.cache
def _attacks(file: str) -> bool:
    return "attacked: Attacked" in (Path(__file__).parents[1] / file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    return _Files(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {folder: place for place, folder in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter of bytes by its place: bytes can hold the time, as gzip's do, and all workers need the same names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True, scope="module")
def imports_are_no_garbage() -> None:
    """Have the collector pass over what stays to the end: looking through it took an eighth of a worker's time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def cold_start() -> Iterator[None]:
    """Leave the next test what a new process has: no answer cached by the product, and the environment as it was."""
    before = dict(os.environ)
    yield
    for name in {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}:
        if (value := before.get(name)) is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
    for clear in _caches():
        clear()


_seen: dict[str, list[Callable[[], None]]] = {}


def _caches() -> Iterator[Callable[[], None]]:
    """Yield what clears each cached function of the product that is imported; a module is searched once."""
    for name in [each for each in sys.modules if each.startswith(("promotion.", "lambdas.", "inference."))]:
        if name.startswith("promotion.rendering."):
            continue  # templates are the same for all
        if name not in _seen:
            cached = [each for each in vars(sys.modules[name]).values() if hasattr(each, "cache_clear")]
            _seen[name] = [each.cache_clear for each in cached if not isinstance(each, type)]
        yield from _seen[name]


@pytest.fixture(scope="session")
def attacked() -> Iterator[Attacked]:
    """One local service, seeded once, for tests/browser and tests/security alike."""
    from local.service import LocalService
    from tests.security.attacked import CONFIG, Attacked

    with LocalService(config=CONFIG, inference=False) as service:
        attacked = Attacked(service)
        attacked.seed()
        yield attacked
