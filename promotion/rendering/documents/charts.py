"""Small charts as inline SVG.

Horizontal positions are percentages of the width, so that text keeps its size on a phone. Colours are classes of the
stylesheet, so that dark mode applies to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from promotion.formatting import number, one_line
from promotion.rendering.documents.rows import MetricRow, Series

STRIP_HEIGHT = 28
PLOT_HEIGHT = 132
LABELS_SHOWN = 8


def strip(row: MetricRow) -> Markup:
    """Draw a metric on its scale: the candidate's bar and interval, a mark for live, and the gate's failing range.

    It is hidden from screen readers, because the table beside it has the same content as text.
    """
    scale, candidate = row["scale"], row["candidate"]
    if not scale or candidate["value"] is None:
        return Markup("")
    end, bound, live = scale["end"], scale["bound"], row["live"]
    drawn = [rect(0, 100, 10, 8, "track", radius=4)]
    if bound is not None:
        at = _share(bound, end)
        failing = (at, 100 - at) if row["lower_is_better"] else (0.0, at)
        drawn.append(rect(*failing, 6, 16, "zone"))
    verdict = {True: "open", False: "shut", None: "plain"}[row["open"]]
    drawn.append(rect(0, _share(candidate["value"], end), 10, 8, f"bar {verdict}", radius=4))
    if candidate["low"] is not None and candidate["high"] is not None:
        low, high = _share(candidate["low"], end), _share(candidate["high"], end)
        drawn.append(line(low, 14, high, 14, "interval"))
        drawn += [line(x, 10, x, 18, "interval") for x in (low, high)]
    if bound is not None:
        drawn.append(line(_share(bound, end), 3, _share(bound, end), 25, "bound"))
    if live is not None and live["value"] is not None:
        x = _share(live["value"], end)
        drawn.append(Markup('<circle class="live" cx="{:.2f}%" cy="14" r="5"/>').format(x))
    return Markup('<svg class="strip" width="100%" height="{}" aria-hidden="true" focusable="false">{}</svg>').format(
        STRIP_HEIGHT, Markup("").join(drawn)
    )


def over_versions(series: Series, live: Sequence[int] = ()) -> Markup:
    """Draw a metric over the versions, with intervals; versions that are live somewhere are filled."""
    points = series["points"]
    values: list[float] = [v for p in points for v in (p["value"], p["low"], p["high"]) if v is not None]
    bottom, top = min(values), max(values)
    room = (top - bottom) * 0.15 or abs(top) * 0.1 or 0.1
    bottom, top = bottom - room, top + room

    def x(index: int) -> float:
        return 10 + 80 * (index / (len(points) - 1)) if len(points) > 1 else 50.0

    def y(value: float) -> float:
        return 14 + (PLOT_HEIGHT - 44) * (1 - (value - bottom) / (top - bottom))

    drawn = [line(2, PLOT_HEIGHT - 24, 98, PLOT_HEIGHT - 24, "axis")]
    for index in range(1, len(points)):
        before, after = points[index - 1], points[index]
        drawn.append(line(x(index - 1), y(before["value"]), x(index), y(after["value"]), "curve"))
    step = max(1, -(-len(points) // LABELS_SHOWN))
    for index, point in enumerate(points):
        at = x(index)
        if point["low"] is not None and point["high"] is not None:
            drawn.append(line(at, y(point["low"]), at, y(point["high"]), "interval"))
        kind = "dot live" if point["version"] in live else "dot"
        drawn.append(Markup('<circle class="{}" cx="{:.2f}%" cy="{:.1f}" r="5"/>').format(kind, at, y(point["value"])))
        if (len(points) - 1 - index) % step == 0:
            drawn.append(text(at, PLOT_HEIGHT - 7, f"v{point['version']}"))
    first, last = points[0], points[-1]
    said = f"{one_line(series['metric'], 120)} from {number(first['value'])} in version {first['version']}"
    said += f" to {number(last['value'])} in version {last['version']}" if len(points) > 1 else ""
    return Markup('<svg class="plot" width="100%" height="{}" role="img" aria-label="{}">{}</svg>').format(
        PLOT_HEIGHT, escape(said), Markup("").join(drawn)
    )


def _share(value: float, end: float) -> float:
    return max(0.0, min(100.0, 100 * value / end))


def rect(x: float, width: float, y: float, height: float, kind: str, *, radius: int = 0) -> Markup:
    """Return a rectangle; horizontal values in percent of the width, vertical ones in pixels."""
    return Markup('<rect class="{}" x="{:.2f}%" y="{}" width="{:.2f}%" height="{}" rx="{}"/>').format(
        kind, x, y, width, height, radius
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a line; horizontal values in percent of the width, vertical ones in pixels."""
    return Markup('<line class="{}" x1="{:.2f}%" y1="{:.1f}" x2="{:.2f}%" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def text(x: float, y: float, said: str) -> Markup:
    """Return text centred at `x`; `x` in percent of the width, `y` in pixels."""
    return Markup('<text x="{:.2f}%" y="{:.1f}" text-anchor="middle">{}</text>').format(x, y, said)
