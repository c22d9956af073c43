"""The sections that plugins add to a run's report; one that fails leaves a note in its place."""

from __future__ import annotations

from deepmix.contracts import registry
from deepmix.report.html.markup import paragraph
from deepmix.report.html.page import Section
from deepmix.report.material import Material


def plugin_sections(material: Material) -> list[Section]:
    """Return the sections of all installed plugins, by name, without those that do not apply."""
    sections = []
    for name, plugin in registry.by_shortest_name("sections").items():
        try:
            section = plugin.load()(material)
            if not (section is None or isinstance(section, Section)):
                raise TypeError(f"it must return a Section or None, got {type(section).__name__}")
        except Exception as error:  # code that is not ours may fail in any way
            reason = f"{type(error).__name__}: {error}"
            section = Section(
                f"Section {name}",
                paragraph(f"This section of {plugin.distribution} could not be written ({reason})."),
            )
        if section is not None:
            sections.append(section)
    return sections
