"""The errors a user can meet: one sentence each that names the cause and the cure.

A message raised in the core names an option by `option("components")`. Each face of deepmix then spells it as its users
write it: `--components` on the command line, `n_components` in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = ["DeepmixError", "UsageError", "option", "printable", "unknown_choice"]


Spelling = Callable[[str, str | None], str]
"""How a face writes an option: from its name, and the value it is to be given (or None), to text."""


OPENS, PARTS, CLOSES = "\ufdd0", "\ufdd1", "\ufdd2"
"""Characters around an option in a message. Unicode keeps them for use inside programs, so no text holds them."""


MARKED = re.compile(f"{OPENS}([^{OPENS}{PARTS}{CLOSES}]*)(?:{PARTS}([^{OPENS}{PARTS}{CLOSES}]*))?{CLOSES}")


STORED = re.compile(r"(?<!')`([A-Za-z_]\w*(?:\.\w+)*)(?:=([^`]*))?`(?!')")
"""An option in a text that is stored, in backquotes: `beta` or `scale=standard`; not a quoted name such as '`a`'."""


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys, reorders text by or can't show; line feeds and tabs are not among them."""


class DeepmixError(Exception):
    """Something failed while running; the command line exits with status 1.

    As text it is the message with the options' plain names. Names and cells in it can't drive a terminal.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        message = printable(message)
        super().__init__(spell(message, plain))
        self._marked = message

    def spelled(self, spelling: Spelling) -> str:
        """Return the message with its options as a face writes them."""
        return spell(self._marked, spelling)


class UsageError(DeepmixError):
    """What was asked for can't be done as asked; the command line exits with status 2."""

    exit_code = 2


def option(name: str, value: object = None) -> str:
    """Return an option as messages hold it, for each face to spell.

    Args:
        name: the option's name in a configuration, such as 'components' or 'label_column'.
        value: what the message advises to set it to, such as "standard" for "scale"; a word in capitals, such as K,
            stands for any value.

    """
    return f"{OPENS}{name}{CLOSES}" if value is None else f"{OPENS}{name}{PARTS}{value}{CLOSES}"


def plain(name: str, value: str | None) -> str:
    """Spell an option by its name alone, as `name` or `name=value`."""
    return name if value is None else f"{name}={value}"


def printable(text: str) -> str:
    """Return a text with its control characters as JSON writes them, in digits, so that no terminal obeys them."""
    return CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def spell(text: str, spelling: Spelling) -> str:
    """Return a text with the options that `option` marked as a face writes them."""
    return MARKED.sub(lambda match: spelling(match[1], match[2]), text)


def spell_stored(text: str, spelling: Spelling) -> str:
    """Return a stored text, such as a warning in metrics.json, with the options in backquotes as a face writes them."""
    return STORED.sub(lambda match: spelling(match[1], match[2]), text)


def unknown_choice(what: str, name: object, choices: Iterable[str]) -> UsageError:
    """Return the error for a name that is not among the choices, which it lists."""
    listed = ", ".join(sorted(choices))
    cure = f"choose one of: {listed}" if listed else "none is installed; `deepmix plugins` lists what is"
    return UsageError(f"unknown {what} '{name}'; {cure}")
