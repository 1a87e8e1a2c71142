"""Estimate of a run's cost from instance time and list prices (prices.json, with their date)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from msgspec import Struct

PRICES = Path(__file__).parent / "prices.json"


class InstanceTime(Struct, frozen=True, kw_only=True):
    """Instance time of a job."""

    instance_type: str
    count: int
    time: timedelta


class Cost(Struct, frozen=True, kw_only=True):
    """A cost in US dollars, and its calculation."""

    usd: float
    basis: str


class PriceList(Struct, frozen=True, kw_only=True):
    as_of: str
    region: str
    usd_per_hour: dict[str, float]


def cost(times: Sequence[InstanceTime]) -> Cost | None:
    """Return the cost of `times`; None without times, or if one of the instance types has no price."""
    prices = price_list()
    if not times or any(each.instance_type not in prices.usd_per_hour or each.time < timedelta() for each in times):
        return None
    hours = [(each, each.count * each.time.total_seconds() / 3600) for each in times]
    usd = sum(prices.usd_per_hour[each.instance_type] * length for each, length in hours)
    said = [f"{length * 60:.1f} min of {each.instance_type}" for each, length in hours]
    return Cost(usd=round(usd, 4), basis=f"{' and '.join(said)}, {prices.region} list prices of {prices.as_of}")


@functools.cache
def price_list() -> PriceList:
    document = json.loads(PRICES.read_text(encoding="utf-8"))
    return PriceList(as_of=document["as_of"], region=document["region"], usd_per_hour=document["usd_per_hour"])


def dollars(usd: float) -> str:
    """Return an amount as text: `about $0.12`, `less than a cent`."""
    return "less than a cent" if usd < 0.01 else f"about ${usd:,.2f}"
