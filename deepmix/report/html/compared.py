"""Small charts that compare some rows with all others: histograms of numbers and bars of shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deepmix.maths import Array
from deepmix.report.html.markup import Markup, element
from deepmix.report.html.plots import WIDTH, Scale, drawing, line, short, text, ticks

TOP, BOTTOM = 8, 84
"""Where the tallest bar ends and where all begin, in units of the drawing."""


BAR_STEP = 30
"""Height of a level's two bars and the gap below them."""


NAME_WIDTH = 118
"""Room for the names of levels."""


def compared_histogram(
    title: str, description: str, edges: Array, here: Array, others: Array, tick_text: Callable[[float], str]
) -> Markup:
    """Return bars for some rows and an outline for all others, both as shares (B,) between edges (B + 1,)."""
    x = Scale(float(edges[0]), float(edges[-1]), 12, WIDTH - 12)
    y = Scale(0.0, float(max(here.max(), others.max(), 1e-9)), BOTTOM, TOP)
    parts = []
    for left, right, share in zip(edges[:-1], edges[1:], here, strict=True):
        top = y(float(share))
        width = f"{x(float(right)) - x(float(left)) - 1.0:.1f}"
        parts.append(
            element("rect", x=x(float(left)), y=top, width=width, height=f"{BOTTOM - top:.1f}", class_="bar s0")
        )
    steps = [f"M{x(float(edges[0])):g},{BOTTOM}"]
    steps += [f"V{y(float(share)):g}H{x(float(right)):g}" for right, share in zip(edges[1:], others, strict=True)]
    parts.append(element("path", d="".join([*steps, f"V{BOTTOM}"]), class_="outline s1"))
    parts.append(line(x.start, BOTTOM, x.end, BOTTOM, "axis"))
    for value in ticks(x.low, x.high, 4):
        label = tick_text(value)
        room = 3.2 * len(label)
        at = min(max(x(value), room), WIDTH - room)
        parts.append(text(at, BOTTOM + 15, label, anchor="middle"))
    return drawing(title, description, BOTTOM + 20, *parts)


def compared_bars(
    title: str, description: str, names: Sequence[str], here: Sequence[float], others: Sequence[float]
) -> Markup:
    """Return for each named level a bar of its share in some rows and, below it, one of its share in all others."""
    x = Scale(0.0, max(*here, *others, 1e-9), NAME_WIDTH, WIDTH - 44)
    parts = []
    for i, (name, share, elsewhere) in enumerate(zip(names, here, others, strict=True)):
        top = 2 + BAR_STEP * i
        parts.append(text(x.start - 6, top + 15, short(name), anchor="end"))
        for at, value, height, looks in ((top, share, 13, "bar s0"), (top + 14, elsewhere, 7, "bar s1")):
            width = f"{max(x(value) - x.start, 0.5):g}"
            parts.append(element("rect", x=x.start, y=at, width=width, height=height, class_=looks))
            parts.append(text(x(value) + 5, at + height / 2 + 4, f"{100 * value:.0f} %"))
    return drawing(title, description, BAR_STEP * len(names) + 2, *parts)
