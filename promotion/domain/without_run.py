"""Rules for an environment that measures nothing: the next request is made without a run, or waits for results."""

from __future__ import annotations

from promotion.config.loading import Config
from promotion.config.settings import Gate


def asks_without_run(config: Config, name: str, group: str) -> bool:
    """Return True if the environment after `name` is requested although nothing was measured in `name`.

    By `without_run` of `name`; where that is not set, if no gate of the next environment needs a measurement.
    """
    chosen = config.environment(name, group).without_run
    if chosen is not None:
        return chosen == "ask"
    following = config.next(name)
    return following is not None and not measured_gates(config, following, group)


def measured_gates(config: Config, name: str, group: str) -> list[str]:
    """Return the names of measurements that the gates into `name` need; empty if they need only the registration."""
    return [wanted for gate in config.environment(name, group).gates if (wanted := _measured(gate))]


def mark(name: str) -> str:
    """Return the entry among a version's runs for an environment `name` in which nothing was measured."""
    return f"{name}: not measured"


def what_follows(config: Config, name: str, group: str) -> str:
    """A sentence about what follows a promotion into `name`; only what will happen. Empty for the last environment."""
    following = config.next(name)
    if following is None:
        return ""
    otherwise = (
        "they are asked without a measurement"
        if asks_without_run(config, name, group)
        else "nobody is asked until results are reported"
    )
    return (
        f"If {name} has input for inference, a run measures it there and the approvers of {following} are asked with its "
        f"results; if it has none, {otherwise}."
    )


def _measured(gate: Gate) -> str:
    if gate.metric is not None:
        return gate.metric
    if gate.largest_error_rate is not None:
        return "error rate"
    return "drift" if gate.largest_drift is not None else ""
