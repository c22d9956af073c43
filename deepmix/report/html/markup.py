"""Functions that build HTML and SVG and escape every text they receive; nothing else writes markup.

`element("p", "x < y")` is `<p>x &lt; y</p>`: a `str` is text, whatever it holds, and only what these functions
return (`Markup`) is markup. So text written by people (labels, columns, paths) can do no harm.
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
"""What an element may contain: text, markup, a number or nothing."""


VOID = frozenset({"meta", "link", "img", "br", "hr"})
"""HTML elements without an end tag."""


CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
"""Characters that HTML may not contain, and those that change the reading direction of the text after them."""


def element(name: str, /, *children: Child, **attributes: Child | bool) -> Markup:
    """Return an element; for example, `class_` and `stroke_width` become `class` and `stroke-width`.

    An attribute that is None or False is left out; one that is True gets no value.
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
    """Return a number with this many significant digits, a true minus sign and thousands separators; '-' for None."""
    if value is None:
        return "-"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace("-", "\N{MINUS SIGN}")
    exponent = f"{value:.{digits - 1}e}".partition("e")[2]
    decimals = max(digits - 1 - int(exponent), 0)
    text = f"{value:.{digits - 1}e}" if abs(int(exponent)) > 6 else f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, decimals: int = 3) -> str:
    """Return a number with this many decimals, for columns of similar figures; '-' for None."""
    return "-" if value is None else f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(fraction: float, decimals: int = 1) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * fraction:.{decimals}f} %"


def slug(text: str) -> str:
    """Return an id made from a heading."""
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
        rows: the rows' cells; a cell that is already a `td` is used as it is.
        class_: CSS class.
        text_columns: columns of text, aligned left; the others hold numbers.

    """

    def kind(column: int) -> str | None:
        return "text" if column in text_columns else None

    head = join(element("th", cell, scope="col", class_=kind(i)) for i, cell in enumerate(header))
    body = []
    for cells in rows:
        first, *rest = cells
        row = [element("th", first, scope="row", class_=kind(0))]
        for i, cell in enumerate(rest, start=1):
            is_cell = isinstance(cell, Markup) and cell.startswith("<td")
            row.append(cell if is_cell and isinstance(cell, Markup) else element("td", cell, class_=kind(i)))
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
    """Return content in a box that scrolls sideways if it is too wide and that the keyboard can reach."""
    return element("div", content, class_="scroll", tabindex="0", role="group", aria_label=name)


def figure(content: Markup, caption: Child, *more: Child) -> Markup:
    """Return a figure with its caption and, below it, further content."""
    return element("figure", content, element("figcaption", caption), *more)


def details(summary: Child, *content: Child) -> Markup:
    """Return a part that opens on demand."""
    return element("details", element("summary", summary), *content)


def paragraph(*children: Child, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)
