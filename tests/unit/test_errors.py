"""Messages name options in one way, which the command line and Python each spell in their own way."""

from __future__ import annotations

import pickle

from deepmix.cli.errors import FLAGS, flag
from deepmix.errors import UsageError, option, plain, spell_stored, unknown_choice
from deepmix.estimator import parameter

ERROR = UsageError(
    f"give {option('components', 'K')}, a smaller {option('latent_dim')}, {option('head', 'gmm')}, "
    f"{option('image_shape', '28x28')} or a larger {option('encoder.hidden')} than 100 % of 'é{{0}}\\1'"
)


def test_an_error_is_its_message_with_plain_names():
    words = "give components=K, a smaller latent_dim, head=gmm, image_shape=28x28 or a larger encoder.hidden than"
    assert str(ERROR) == words + " 100 % of 'é{0}\\1'"
    assert ERROR.args == (str(ERROR),)
    assert str(pickle.loads(pickle.dumps(ERROR))) == str(ERROR)


def test_the_command_line_spells_flags_and_settings():
    assert ERROR.spelled(flag).startswith(
        "give --components K, a smaller --latent-dim, --head gmm, --set image_shape=28x28 or a larger "
        "--set encoder.hidden than"
    )


def test_the_estimator_spells_parameters():
    assert ERROR.spelled(parameter).startswith(
        "give n_components=K, a smaller latent_dim, head='gmm', settings={'image_shape': '28x28'} or a larger "
        "settings={'encoder.hidden': ...} than"
    )
    assert parameter("label_column") == "y"


def test_stored_texts_are_readable_and_can_be_spelled():
    text = "column(s) set to 0: '`a`', 'b'; try a smaller `beta` or `scale=standard`"
    assert spell_stored(text, plain) == "column(s) set to 0: '`a`', 'b'; try a smaller beta or scale=standard"
    assert spell_stored(text, flag).endswith("'`a`', 'b'; try a smaller --beta or --set scale=standard")
    assert spell_stored(text, parameter).endswith("'`a`', 'b'; try a smaller beta or scale='standard'")


def test_a_choice_is_refused_with_the_others():
    assert str(unknown_choice("model", "x", ["b", "a"])) == "unknown model 'x'; choose one of: a, b"
    assert str(unknown_choice("model", "x", [])) == (
        "unknown model 'x'; none is installed; `deepmix plugins` lists what is"
    )


def test_every_flag_is_one_of_a_command():
    """The table of flags contains all of train's flags, and none that no command has."""
    import click

    from deepmix.cli import COMMANDS, main

    commands = {name: main.get_command(click.Context(main), name) for name in COMMANDS}
    flags = {
        name: {
            word[2:].replace("-", "_")
            for parameter in command.params
            for word in parameter.opts
            if word.startswith("--")
        }
        for name, command in commands.items()
        if command is not None
    }
    assert set().union(*flags.values()) >= FLAGS
    assert flags["train"] - {"no_report", "no_baselines", "quiet"} <= FLAGS
