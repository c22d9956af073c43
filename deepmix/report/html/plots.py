"""Charts as inline SVG: small, without a script, readable in the dark and at phone width.

Every chart is drawn 340 units wide, about what a phone shows, so that its text stays legible; wider pages set
charts side by side. Colours and text styles are classes of `style.css`. Series differ in shape or in a label
beside them as well as in colour, and each chart has a title and a description for screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepmix.maths import Array
from deepmix.report.analysis import Reliability, densest
from deepmix.report.html.markup import Child, Markup, element, join, number, slug

WIDTH = 340
"""Width of a chart in units; one unit is a CSS pixel on a phone that is 360 wide."""


N_COLOURS = 7
"""Number of colours in style.css; they stay distinct on both backgrounds and with common colour-vision deficiencies."""


SHAPES = ("dot", "square", "plus", "cross")
"""Markers; their number and the number of colours have no common divisor, so 28 groups look different."""


LABEL_LENGTH = 16
"""Characters of a name inside a chart; the table beside it shows the whole name."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Group:
    """Points of a scatter plot that look alike."""

    name: str
    points: Array
    """(n, 2)."""
    colour: int
    shape: str
    labelled: bool = True
    """Whether the name is drawn among the points."""


@dataclass(frozen=True)
class Scale:
    """A linear map from values to units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return where a value is drawn."""
        fraction = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + fraction * (self.end - self.start), 1)


def short(text: str, length: int = LABEL_LENGTH) -> str:
    """Return a name, shortened to fit into a chart."""
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def ticks(low: float, high: float, n_most: int = 5, *, whole: bool = False) -> list[float]:
    """Return round values from low to high, 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / n_most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= n_most)
    step = max(step, 1.0) if whole else step
    return [round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Return ticks as text, all with as many decimals as their step needs."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    decimals = max(-math.floor(math.log10(step) + 1e-9), 0)
    return [f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in values]


def drawing(title: str, description: str, height: float, *content: Child) -> Markup:
    """Return an SVG image with its title and description."""
    name = slug(title)
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *content,
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-desc",
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", class_: str | None = None) -> Markup:
    """Return a line of text."""
    return element("text", content, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("path", d=f"M{x1:g},{y1:g}L{x2:g},{y2:g}", class_=class_)


def axes(x: Scale, y: Scale, x_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
    """Return gridlines with their values, and the name of the x axis."""
    parts = [line(x.start, y(value), x.end, y(value), "rule") for value in y_ticks]
    for value, label in zip(y_ticks, tick_texts(y_ticks), strict=True):
        parts.append(text(x.start - 5, y(value) + 4, label, anchor="end"))
    for value, label in zip(x_ticks, tick_texts(x_ticks), strict=True):
        parts.append(text(x(value), y.start + 15, label, anchor="middle"))
    parts += [line(x.start, y.start, x.end, y.start, "axis")]
    parts += [text((x.start + x.end) / 2, y.start + 31, x_label, anchor="middle", class_="axis-name")]
    return join(parts)


def line_chart(
    title: str, description: str, series: Sequence[Series], x_label: str, *, whole: bool = False, named: bool = True
) -> Markup:
    """Return a chart of lines over epochs.

    Args:
        title: what is shown.
        description: what the chart shows, in words.
        series: the lines; those after the first are dashed.
        x_label: name of the x axis.
        whole: whether the values are whole numbers.
        named: whether each line has its name at its end; otherwise the lines look alike.

    """
    all_x = [value for one in series for value in one.x]
    all_y = [value for one in series for value in one.y]
    low, high = min(all_y), max(all_y)
    room = 0.06 * (high - low) or 0.5 * max(abs(high) * 0.1, 1.0)
    low, high = (min(low, 0) if whole else low - room), high + room
    several = named and len(series) > 1
    x = Scale(min(all_x), max(all_x), 48, WIDTH - (96 if several else 10))
    y = Scale(low, high, 160, 8)
    parts: list[Markup] = [axes(x, y, x_label, ticks(x.low, x.high, whole=True), ticks(low, high, whole=whole))]
    for i, one in enumerate(series):
        points = " ".join(f"{x(a):g},{y(b):g}" for a, b in zip(one.x, one.y, strict=True))
        looks = f"line s{i % N_COLOURS} dash{i % 4}" if named else "line s0 thin"
        if len(one.x) == 1:
            parts.append(element("circle", cx=x(one.x[0]), cy=y(one.y[0]), r=3, class_=f"mark s{i % N_COLOURS}"))
        parts.append(element("polyline", points=points, class_=looks))
    if several:
        places = apart([y(one.y[-1]) + 4 for one in series], 13, y.start)
        for i, (one, place) in enumerate(zip(series, places, strict=True)):
            parts.append(text(x.end + 6, place, short(one.name), class_=f"name s{i % N_COLOURS}"))
    return drawing(title, description, 198, *parts)


def apart(places: Sequence[float], step: float, bottom: float) -> list[float]:
    """Return places, moved down in their order until they lie a step apart, then moved up if the last is too low."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + step)
    over = max(moved[order[-1]] - bottom, 0.0)
    return [place - over for place in moved]


def marker_path(points: Array, shape: str, x: Scale, y: Scale) -> str:
    """Return one path that draws a marker at every point."""
    draw: Callable[[float, float], str] = {
        "dot": lambda a, b: f"M{a:g},{b:g}h0",
        "square": lambda a, b: f"M{a:g},{b:g}h0",
        "plus": lambda a, b: f"M{a - 2.5:g},{b:g}h5m-2.5,-2.5v5",
        "cross": lambda a, b: f"M{a - 2:g},{b - 2:g}l4,4m0,-4l-4,4",
    }[shape]
    return "".join(draw(x(float(a)), y(float(b))) for a, b in points)


def scatter(title: str, description: str, groups: Sequence[Group], x_label: str, y_label: str) -> Markup:
    """Return a map of points; each `labelled` group has its name where it is densest."""
    everything = np.concatenate([group.points for group in groups])
    centre = (everything.min(axis=0) + everything.max(axis=0)) / 2
    reach = float((everything.max(axis=0) - everything.min(axis=0)).max()) * 0.54 or 1.0
    x = Scale(float(centre[0]) - reach, float(centre[0]) + reach, 1, WIDTH - 1)
    y = Scale(float(centre[1]) - reach, float(centre[1]) + reach, WIDTH - 1, 1)
    parts = [element("rect", x=0.5, y=0.5, width=WIDTH - 1, height=WIDTH - 1, class_="frame")]
    for group in groups:
        looks = f"points {group.shape} s{group.colour}"
        hint = element("title", f"{group.name}: {len(group.points)} points")
        parts.append(element("path", hint, d=marker_path(group.points, group.shape, x, y), class_=looks))
    for group in groups:
        if group.labelled and len(group.points):
            name, middle = short(group.name), densest(group.points)
            margin = 4 + 3.3 * len(name)
            at = min(max(x(float(middle[0])), margin), WIDTH - margin)
            parts.append(text(at, y(float(middle[1])) + 4, name, anchor="middle", class_=f"halo s{group.colour}"))
    parts.append(text(WIDTH / 2, WIDTH + 14, x_label, anchor="middle", class_="axis-name"))
    parts.append(text(WIDTH / 2, WIDTH + 28, y_label, anchor="middle", class_="axis-name"))
    return drawing(title, description, WIDTH + 34, *parts)


def swatch(colour: int, shape: str) -> Markup:
    """Return a group's marker for a legend, which stands beside the group's name."""
    path = marker_path(np.zeros((1, 2)), shape, Scale(-1, 1, 1, 11), Scale(-1, 1, 11, 1))
    looks = f"points {shape} s{colour}"
    return element(
        "svg", element("path", d=path, class_=looks), viewBox="0 0 12 12", class_="swatch", aria_hidden="true"
    )


def bars(
    title: str, description: str, names: Sequence[str], values: Sequence[float], mark: float, mark_name: str
) -> Markup:
    """Return horizontal bars with their names and values, and a dashed line at `mark`, which `mark_name` names."""
    step, top = (20, 22) if len(names) <= 20 else (14, 22)
    longest = max(len(short(name)) for name in names)
    x = Scale(0, max(*values, mark) or 1.0, 12 + 6.5 * longest, WIDTH - 52)
    bottom = top + step * len(names)
    parts = [line(x(mark), top - 4, x(mark), bottom, "mark-line")]
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + step * i
        parts.append(text(x.start - 6, y + step / 2 + 4, short(name), anchor="end"))
        width = max(x(value) - x.start, 0.0)
        parts.append(element("rect", x=x.start, y=y + 2, width=f"{width:g}", height=step - 4, class_="bar s0"))
        parts.append(text(x(value) + 4, y + step / 2 + 4, number(value), class_="clear-of"))
    anchor = "middle" if x(mark) < WIDTH - 90 else "end"
    parts.append(text(x(mark), top - 9, mark_name, anchor=anchor, class_="axis-name"))
    return drawing(title, description, bottom + 4, *parts)


def difference_bar(value: float, reach: float) -> Markup:
    """Return a small bar to the left (less) or right (more) of the middle, which stands beside the number."""
    x = Scale(-reach, reach, 1, 99)
    start, end = sorted((x(0), x(min(max(value, -reach), reach))))
    looks = "bar s1" if value < 0 else "bar s0"
    return element(
        "svg",
        element("rect", x=start, y=3, width=f"{max(end - start, 0.5):g}", height=10, class_=looks),
        line(50, 0, 50, 16, "axis"),
        viewBox="0 0 100 16",
        class_="difference",
        aria_hidden="true",
    )


def reliability_chart(title: str, description: str, diagram: Reliability) -> Markup:
    """Return a reliability diagram: how often the model was right against how sure it was."""
    x, y = Scale(0, 1, 44, WIDTH - 12), Scale(0, 1, 300, 12)
    values = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    parts = [axes(x, y, "how sure the model was, q(y|x)", values, values)]
    parts.append(line(x(0), y(0), x(1), y(1), "mark-line"))
    parts.append(text(x(0.36), y(0.36) - 8, "as sure as right", anchor="end", class_="axis-name"))
    bins = zip(diagram.confidence, diagram.accuracy, diagram.low, diagram.high, diagram.counts, strict=True)
    for a, b, c, d, n in bins:
        radius = 3 + 6 * math.sqrt(n / diagram.counts.max())
        parts.append(line(x(a), y(c), x(a), y(d), "line s0"))
        hint = element("title", f"{n} rows: {a:.2f} sure, {b:.2f} right")
        parts.append(element("circle", hint, cx=x(a), cy=y(b), r=f"{radius:.1f}", class_="mark s0"))
    return drawing(title, description, 338, *parts)


def histogram(title: str, description: str, edges: Array, counts: Array, x_label: str) -> Markup:
    """Return upright bars of counts (B,) between edges (B + 1,)."""
    x, y = Scale(float(edges[0]), float(edges[-1]), 48, WIDTH - 12), Scale(0, float(counts.max()), 160, 8)
    parts = [axes(x, y, x_label, ticks(x.low, x.high), ticks(0, y.high, 4, whole=True))]
    for left, right, n in zip(edges[:-1], edges[1:], counts, strict=True):
        hint = element("title", f"{left:.2f} to {right:.2f}: {n} rows")
        width = f"{x(float(right)) - x(float(left)) - 1.5:.1f}"
        top, height = y(float(n)), f"{160 - y(float(n)):.1f}"
        parts.append(element("rect", hint, x=x(float(left)), y=top, width=width, height=height, class_="bar s0"))
    return drawing(title, description, 198, *parts)


def strips(title: str, description: str, rows: Sequence[tuple[str, Sequence[float]]], x_label: str) -> Markup:
    """Return a line of points for each named row of values, with its mean as an upright stroke."""
    everything = [value for _, values in rows for value in values]
    low, high = min(everything), max(everything)
    room = 0.08 * (high - low) or 0.05
    longest = max(len(short(name)) for name, _ in rows)
    x = Scale(low - room, high + room, 14 + 6.5 * longest, WIDTH - 14)
    bottom = 6 + 34 * len(rows)
    y = Scale(0, len(rows), bottom, 6)
    parts = [axes(x, y, x_label, ticks(x.low, x.high, 4), [])]
    for i, (name, values) in enumerate(rows):
        at = 6 + 34 * i + 17
        parts.append(line(x.start, at, x.end, at, "rule"))
        parts.append(text(x.start - 6, at + 4, short(name), anchor="end"))
        mean = x(float(np.mean(values)))
        parts.append(line(mean, at - 11, mean, at + 11, "line s1"))
        parts += [element("circle", cx=x(value), cy=at, r=4, class_="mark s0 clear") for value in values]
    return drawing(title, description, bottom + 38, *parts)
