"""The page around a report's sections: one file without a script, with its style and its security policy inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources

from deepmix.report.html.markup import Child, Markup, element, join, slug


@dataclass(frozen=True)
class Section:
    """A section of the report: its heading, which the table of contents also shows, and its body."""

    title: str
    body: Markup


def page(title: str, lead: Child, sections: Sequence[Section]) -> str:
    """Return a whole HTML document.

    It can neither run nor fetch anything: its Content-Security-Policy allows only its own style sheet, by hash, and
    images written into the page.
    """
    style = resources.files(__package__).joinpath("style.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),  # our own file: the one text that is not escaped
    )
    links = [element("li", element("a", section.title, href=f"#{slug(section.title)}")) for section in sections]
    parts = [
        element(
            "section",
            element("h2", section.title, id=slug(section.title)),
            section.body,
            aria_labelledby=slug(section.title),
        )
        for section in sections
    ]
    body = element(
        "body",
        element("a", "Skip to the results", href="#content", class_="skip"),
        element("header", element("h1", title), lead),
        element("nav", element("ul", *links), aria_label="Contents"),
        element("main", *parts, id="content", tabindex="-1"),
        element("footer", element("p", f"Written by deepmix {metadata.version('deepmix')}.")),
    )
    return str(join([Markup("<!doctype html>\n"), element("html", head, Markup("\n"), body, lang="en"), "\n"]))
