"""HTML and SVG built by functions that escape every text they are given; nothing else writes markup.

`element("p", "x < y")` is `<p>x &lt; y</p>`: a `str` is text, whatever it holds, and only what these functions
returned (`Markup`) is markup. Text written by people (labels, columns, paths) can so do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

__all__ = [
    "Child",
    "Markup",
    "details",
    "element",
    "figure",
    "fixed",
    "join",
    "number",
    "paragraph",
    "percent",
    "scrolled",
    "slug",
    "table",
]


Child = str | Markup | int | float | None
"""What may stand inside an element: text, markup, a number or nothing."""


VOID = frozenset({"meta", "link", "img", "br", "hr"})
"""HTML elements without an end tag."""


CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Characters that no HTML may hold, and those that turn the reading direction of what follows them."""


def element(name: str, /, *children: Child, **attributes: Child | bool) -> Markup:
    """Return an element; `class_` and `stroke_width` stand for `class` and `stroke-width`.

    An attribute that is None or False is left out; one that is True has no value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{_safe(value)}"')
    start = Markup(f"<{' '.join(words)}>")  # every value in it went through _safe
    return start if name in VOID else start + join(children) + Markup(f"</{name}>")


def join(children: Iterable[Child], separator: str = "") -> Markup:
    """Return children one after the other, escaped."""
    return Markup(separator).join(_safe(child) for child in children if child is not None)


def _safe(value: object) -> Markup:
    return value if isinstance(value, Markup) else escape(CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with this many significant digits, a true minus sign and thousands apart; '-' for None."""
    if value is None:
        return "-"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace("-", "\N{MINUS SIGN}")
    exponent = f"{value:.{digits - 1}e}".partition("e")[2]
    decimals = max(digits - 1 - int(exponent), 0)
    text = f"{value:.{digits - 1}e}" if abs(int(exponent)) > 6 else f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, decimals: int = 3) -> str:
    """Return a number with this many decimals, for columns of like figures; '-' for None."""
    return "-" if value is None else f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float, decimals: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{decimals}f} %"


def slug(text: str) -> str:
    """Return an id made of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def table(
    caption: Child,
    header: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    *,
    class_: str | None = None,
    text_columns: Sequence[int] = (0,),
) -> Markup:
    """Return a table with a caption, column headers and a row header in each row's first cell.

    Args:
        caption: what the table shows.
        header: the columns' names.
        rows: their cells; a cell that is a `td` already is taken as it is.
        class_: CSS class.
        text_columns: columns of text, set flush left; the others hold numbers.

    """

    def kind(column: int) -> str | None:
        return "text" if column in text_columns else None

    head = join(element("th", cell, scope="col", class_=kind(i)) for i, cell in enumerate(header))
    body = []
    for cells in rows:
        first, *rest = cells
        row = [element("th", first, scope="row", class_=kind(0))]
        for i, cell in enumerate(rest, start=1):
            done = isinstance(cell, Markup) and cell.startswith("<td")
            row.append(cell if done and isinstance(cell, Markup) else element("td", cell, class_=kind(i)))
        body.append(element("tr", *row))
    whole = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", head)),
        element("tbody", *body),
        class_=class_,
    )
    return scrolled(str(caption), whole)


def scrolled(name: str, content: Markup) -> Markup:
    """Return content that scrolls sideways in a box of its own where it is too wide; the keyboard reaches it."""
    return element("div", content, class_="scroll", tabindex="0", role="group", aria_label=name)


def figure(content: Markup, caption: Child, *more: Child) -> Markup:
    """Return a figure with its caption and, below, what belongs to it."""
    return element("figure", content, element("figcaption", caption), *more)


def details(summary: Child, *content: Child) -> Markup:
    """Return a part that opens on demand."""
    return element("details", element("summary", summary), *content)


def paragraph(*children: Child, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)
