"""Harbour logs and their one-line summaries, made up by rule: something small enough to learn in a minute.

Every log mixes what a summary must say with remarks that it must leave out, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

_SHIPS = [
    "Albatross",
    "Bittern",
    "Cormorant",
    "Dunlin",
    "Eider",
    "Fulmar",
    "Gannet",
    "Heron",
    "Ibis",
    "Jacana",
    "Kestrel",
    "Lapwing",
    "Merganser",
    "Noddy",
    "Osprey",
    "Petrel",
]
_CARGO = (
    "grain", "timber", "cement", "fertiliser", "scrap metal", "paper rolls", "salt", "machine parts", "bananas",
    "wind turbine blades",
)  # fmt: skip
_QUAYS = (
    "north quay", "south quay", "east basin", "west basin", "coal pier", "ferry pier", "container terminal", "dry dock",
)  # fmt: skip
_ORIGINS = [
    "Bergen",
    "Gdansk",
    "Riga",
    "Turku",
    "Aarhus",
    "Cork",
    "Bilbao",
    "Porto",
    "Genoa",
    "Split",
    "Izmir",
    "Varna",
    "Haifa",
    "Tunis",
    "Dakar",
    "Santos",
]
_CREWS = ("red", "blue", "green", "amber", "grey", "violet")
_WORK = ("unloaded", "loaded", "inspected", "weighed", "turned away")
_CAUSES = (
    "a broken crane", "thick fog", "a missing permit", "a strike of the pilots", "a power cut", "a leaking valve",
    "strong gusts", "a customs hold", "a jammed hatch", "a late tug",
)  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_PEOPLE = [
    "Aino",
    "Bruno",
    "Chiara",
    "Dario",
    "Esther",
    "Femke",
    "Goran",
    "Hanna",
    "Ivo",
    "Jette",
    "Kaspar",
    "Leila",
    "Marek",
    "Nuria",
    "Oskar",
    "Pilar",
]

_NEWS = (
    "The {crew} crew {done} {tons} tons of {cargo} on the {ship} at the {quay}.",
    "At the {quay}, {tons} tons of {cargo} on the {ship} were {done} by the {crew} crew.",
    "{tons} tons of {cargo} aboard the {ship} have been {done}, the {crew} crew reports from the {quay}.",
)
_WAITING = (
    "Work stood still for {hours} hours because of {cause}.",
    "There was a delay of {hours} hours, put down to {cause}.",
    "{hours} hours were lost to {cause}.",
)
_FROM = (
    "The ship had come in from {origin}.",
    "She arrived from {origin} with the tide.",
    "Her last port was {origin}.",
)
_SIGNED = (
    "The papers were signed by {person}.",
    "{person} signed for the cargo.",
    "{person} has put a name to the papers.",
)
_REMARKS = (
    "The canteen ran out of soup before {hour}:00.",
    "{person} asked for new gloves for the second time since {day}.",
    "Two gulls have moved into the old watch house.",
    "The paint on the gate is still wet, {person} says.",
    "A school class is expected on {day}.",
    "The lamp by the stairs was mended at {hour}:00.",
    "Nobody has claimed the umbrella left at the desk on {day}.",
    "{person} found the spare key behind the notice board.",
    "The radio plays only one station since {day}.",
    "Parking was tight again around {hour}:00.",
    "The clock in the hall is ten minutes slow.",
    "{person} will be on leave from {day}.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Log:
    """One log and the content of a good summary. `day` is for slices of the metrics."""

    text: str
    summary: str
    day: str


def logs(count: int, seed: int) -> Iterator[Log]:
    """`count` logs; the same ones for the same seed, and different ones for every other."""
    chance = random.Random(f"harbour {seed}")  # noqa: S311  # made-up texts, no secrets
    for _ in range(count):
        yield _log(chance)


def training_logs(count: int = 20_000) -> list[Log]:
    """Return the training data; none of it is in `held_out_logs`."""
    kept_out = {log.text for log in held_out_logs()}
    return [log for log in logs(count, seed=1) if log.text not in kept_out]


def held_out_logs(count: int = 120) -> list[Log]:
    """Return the test data."""
    return list(logs(count, seed=2))


def _log(chance: random.Random) -> Log:
    pick = chance.choice
    done = pick(_WORK)
    day = pick(_DAYS)
    facts = {
        "crew": pick(_CREWS),
        "ship": pick(_SHIPS),
        "cargo": pick(_CARGO),
        "quay": pick(_QUAYS),
        "tons": str(chance.randrange(2, 60) * 10),
        "done": done,
        "day": day,
    }
    sentences = [pick(_NEWS).format(**facts)]
    summary = "{crew} crew {done} {tons} tons of {cargo}, {ship}, {quay}".format(**facts)
    if chance.random() < 0.6:
        hours, cause = chance.randrange(2, 13), pick(_CAUSES)
        sentences.append(pick(_WAITING).format(hours=hours, cause=cause))
        summary += f"; {hours} hours late: {cause}"
    if chance.random() < 0.5:
        origin = pick(_ORIGINS)
        sentences.append(pick(_FROM).format(origin=origin))
        summary += f"; from {origin}"
    if chance.random() < 0.4:
        person = pick(_PEOPLE)
        sentences.append(pick(_SIGNED).format(person=person))
        summary += f"; signed {person}"
    sentences += [
        remark.format(person=pick(_PEOPLE), day=pick(_DAYS), hour=chance.randrange(6, 22))
        for remark in chance.sample(_REMARKS, chance.randrange(1, 5))
    ]
    chance.shuffle(sentences)
    return Log(f"{day}. " + " ".join(sentences), summary + ".", day)
