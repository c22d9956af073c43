"""The help on a model from descriptions is the help from the imported plugins, and the committed file is up to date."""

from __future__ import annotations

import pytest

from deepmix.contracts import Description, OptionTable, registry
from deepmix.errors import UsageError
from deepmix.experiment import ExperimentConfig, describe_distribution, described_help, imported_help, model_help

CONFIGS = [
    *(ExperimentConfig(model=name) for name in registry.names("models")),
    *(ExperimentConfig(prior=name) for name in registry.names("priors")),
    *(ExperimentConfig(posterior=name) for name in registry.names("posteriors")),
    *(ExperimentConfig(encoder=name) for name in registry.names("encoders")),
    *(ExperimentConfig(decoder=name) for name in registry.names("decoders")),
    *(ExperimentConfig(init=name) for name in registry.names("initializers")),
    *(ExperimentConfig(dataset=name) for name in registry.names("datasets")),
    ExperimentConfig(dataset="rows.csv", heads=tuple(registry.names("heads"))),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_help_from_descriptions_is_that_of_the_plugins(config: ExperimentConfig) -> None:
    described, imported = described_help(config), imported_help(config)
    assert described == imported
    assert list(imported.options) == list(described.options if described else ())


@pytest.mark.parametrize("part", ["encoder", "decoder", "prior", "posterior"])
def test_a_model_of_its_own_takes_no_parts(part: str) -> None:
    for help_text in (described_help, imported_help):
        with pytest.raises(UsageError) as caught:
            help_text(ExperimentConfig(model="m2", **{part: "mlp"}))
        assert str(caught.value) == f"model 'm2' has its own {part}; leave out {part}"


def test_a_description_of_another_version_of_deepmix_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExperimentConfig(model="vade")
    expected = model_help(config)
    unknown = Description("VaDE", OptionTable("deepmix.models:OptionsOfTomorrow"))
    monkeypatch.setattr(registry.Plugin, "description", lambda self: unknown)
    assert model_help(config) == expected


def test_the_committed_descriptions_are_those_of_the_plugins() -> None:
    texts = describe_distribution("deepmix")
    assert [path.parent.name for path in texts] == ["deepmix_builtins"]
    for path, text in texts.items():
        assert path.read_text("utf-8") == text, "run: deepmix plugins --describe deepmix"
        assert text.count('"kind"') == sum(
            len({p.target for p in registry.discover(kind) if p.distribution == registry.OURS})
            for kind in registry.KINDS
        )
