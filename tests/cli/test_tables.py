"""Tables of mixed columns from the file to clusters, samples, filled cells and the report, by the command line."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file
from sklearn.metrics import adjusted_rand_score

from deepmix.cli import main
from deepmix.inference import open_run
from tests.cli.conftest import refuses
from tests.tables import COLUMN_FLAGS, GROUPS, N_ROWS, PLANS, TINY_TABLE, mixed_table, true_groups, write_table

MODELLED = ["length", "width", "spend", "visits", "plan", "member", "joined"]
"""The columns of the table that get likelihoods."""


FILLED = ["length", "width", "spend", "plan", "joined"]
"""Its columns with empty cells, in the modelled ones."""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Return a folder with the table and a run on it, which no test changes."""
    folder = tmp_path_factory.mktemp("tables")
    path = write_table(mixed_table(), folder / "table.csv")
    words = ["train", "--dataset", path, *COLUMN_FLAGS, "--proba", "--out", folder / "run", *TINY_TABLE]
    result = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def own(home) -> pd.DataFrame:
    """Return the run's assignments.csv."""
    return pd.read_csv(home / "run" / "assignments.csv")


def output(process) -> pd.DataFrame:
    """Return the rows that a command printed."""
    assert process.returncode == 0, process.stderr
    return pd.read_csv(io.StringIO(process.stdout))


def test_training_finds_the_groups_and_names_every_row(home, own):
    assert list(own) == [
        "row",
        "name",
        "split",
        "posterior",
        "probability",
        "outlier",
        "stability",
        "weight",
        "label",
        "p0",
        "p1",
        "p2",
    ]
    assert own["name"].tolist() == list(range(5001, 5001 + N_ROWS))
    assert adjusted_rand_score(true_groups(), own["posterior"]) == 1.0
    assert own["label"].isna().sum() == N_ROWS // 10
    q_NK = own[["p0", "p1", "p2"]].to_numpy()
    assert q_NK.sum(axis=1) == pytest.approx(1.0, abs=2e-6)
    assert np.array_equal(q_NK.argmax(axis=1), own["posterior"])
    assert q_NK.max(axis=1) == pytest.approx(own["probability"])
    trained = own[own["split"] == "train"]
    assert trained["outlier"].median() == pytest.approx(0.5, abs=0.02)
    schema = json.loads((home / "run" / "config.json").read_text())["data"]["schema"]
    kinds = {column["name"]: column["kind"] for column in schema["columns"]}
    assert kinds == {
        "customer_id": "identifier",
        "length": "continuous",
        "width": "positive",
        "spend": "positive",
        "visits": "count",
        "plan": "categorical",
        "member": "binary",
        "joined": "datetime",
        "note": "text",
        "site": "condition",
        "weight": "weight",
        "group": "label",
    }


def test_predicting_the_own_table_repeats_the_assignments(deepmix, home, own):
    result = deepmix("predict", home / "run", home / "table.csv", "--proba")
    assert result.stderr == ""
    rows = output(result)
    assert list(rows) == ["row", "name", "cluster", "probability", "entropy", "outlier", "p0", "p1", "p2"]
    assert np.array_equal(rows["cluster"], own["posterior"])
    assert np.array_equal(rows["name"], own["name"])
    for name in ("outlier", "p0", "p1", "p2"):
        assert rows[name].to_numpy() == pytest.approx(own[name].to_numpy(), abs=3e-6)


OTHER_TABLES = {
    "another order": (lambda frame: frame.iloc[:, ::-1], "", 1.0),
    "a further column": (
        lambda frame: frame.assign(extra=1),
        "Note: columns that the training table did not have are left out: 'extra'\n",
        1.0,
    ),
    "missing columns": (
        lambda frame: frame.drop(columns=["width", "site", "group", "weight", "customer_id", "note"]),
        "Note: columns that the table lacks count as missing in every row: 'width', 'site'\n",
        0.9,
    ),
    "unseen levels": (
        lambda frame: frame.assign(plan="gold", member=frame["member"].replace("yes", "maybe")),
        "Note: levels of 'plan' that the training rows did not have count as missing: 'gold'\n"
        "Note: levels of 'member' that the training rows did not have count as missing: 'maybe'\n",
        0.9,
    ),
}


@pytest.mark.parametrize("name", OTHER_TABLES)
def test_other_tables_are_predicted_with_a_note(deepmix, home, own, tmp_path, name):
    change, notes, least = OTHER_TABLES[name]
    write_table(change(mixed_table()), tmp_path / "other.csv")
    result = deepmix("predict", home / "run", "other.csv")
    assert result.stderr == notes
    rows = output(result)
    assert np.mean(rows["cluster"] == own["posterior"]) >= least
    assert np.array_equal(rows["outlier"], own["outlier"]) == (least == 1.0)


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet", ".tsv"])
def test_files_of_other_kinds_give_the_same(deepmix, home, own, tmp_path, suffix):
    frame, path = mixed_table(), tmp_path / f"table{suffix}"
    if suffix == ".xlsx":
        pytest.importorskip("openpyxl", reason="openpyxl is not installed")
        frame.to_excel(path, index=False)
    elif suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t")
    rows = output(deepmix("predict", home / "run", path))
    assert np.array_equal(rows["cluster"], own["posterior"])
    assert np.array_equal(rows["outlier"], own["outlier"])
    assert np.array_equal(rows["name"], own["name"])


def test_any_column_names_the_rows(deepmix, home, tmp_path):
    rows = output(deepmix("predict", home / "run", home / "table.csv", "--id-column", "note"))
    assert rows["name"][3] == "row 3 was written by hand"
    codes = [f"00{i}" for i in range(N_ROWS)]
    write_table(mixed_table().assign(code=codes), tmp_path / "codes.csv")
    result = deepmix("predict", home / "run", "codes.csv", "--id-column", "code")
    assert [line.split(",")[1] for line in result.stdout.splitlines()[1:]] == codes  # leading zeros are part of a name
    result = deepmix("predict", home / "run", home / "table.csv", "--id-column", "nothing", "-o", "out.csv")
    refuses(result, 2, "there is no column 'nothing'", "customer_id, length")
    assert not (tmp_path / "out.csv").exists()


def test_ids_of_the_training_keep_their_zeros(deepmix, tmp_path):
    codes = [f"00{i}" for i in range(N_ROWS)]
    write_table(mixed_table().assign(customer_id=codes), tmp_path / "table.csv")
    words = ("--dataset", "table.csv", "--id-column", "customer_id", *COLUMN_FLAGS, "--out", "run", *TINY_TABLE)
    assert deepmix("train", *words, "--epochs", 1).returncode == 0
    lines = (tmp_path / "run" / "assignments.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["name", *codes]
    lines = deepmix("predict", "run", "table.csv").stdout.splitlines()
    assert [line.split(",")[1] for line in lines] == ["name", *codes]


def strange_table() -> pd.DataFrame:
    """Return ten rows of the table, of which the third is far from all others and the sixth has one absurd number."""
    frame = mixed_table().head(10)
    frame.loc[2, ["length", "width"]] = [-300.0, 900.0]
    frame.loc[5, "length"] = 1e30
    return frame


def test_strange_rows_are_marked_and_the_rest_goes_on(deepmix, home, own, tmp_path):
    write_table(strange_table(), tmp_path / "strange.csv")
    rows, marked = (
        output(deepmix("predict", home / "run", "strange.csv", *words)) for words in ((), ("--outliers", 0.01))
    )
    assert rows["outlier"][[2, 5]].tolist() == [1.0, 1.0]
    ordinary = [0, 1, 3, 4, 6, 7, 8, 9]
    assert np.array_equal(rows["cluster"][ordinary], own["posterior"][ordinary])
    assert marked["cluster"][[2, 5]].tolist() == [-1, -1]
    fits = own["outlier"].head(10) <= 0.99
    assert np.array_equal(marked["cluster"][ordinary], np.where(fits, own["posterior"].head(10), -1)[ordinary])
    same = [name for name in rows if name != "cluster"]
    assert rows[same].equals(marked[same])
    refuses(deepmix("predict", home / "run", "strange.csv", "--outliers", 1.5), 2, "--outliers", "below 1")
    summary = deepmix("predict", home / "run", "strange.csv", "--outliers", 0.01, "-o", "out.csv", "--json")
    assert json.loads(summary.stdout)["outliers"] == int((marked["cluster"] == -1).sum())


def test_messages_number_the_rows_of_the_whole_file(deepmix, home, tmp_path, monkeypatch):
    monkeypatch.setattr("deepmix.data.table_file.BLOCK_VALUES", 12 * 50)  # blocks of fewer than 50 rows
    frame = mixed_table()
    frame.loc[110, "spend"] = -3.0
    write_table(frame, tmp_path / "less.csv")
    result = deepmix("predict", home / "run", "less.csv")
    assert result.stderr == (
        "Note: numbers in 'spend' that are 0 or less count as missing, as the training rows had none: "
        "1, the first in row 111 (-3.0)\n"
    )
    frame["length"] = frame["length"].astype(object)
    frame.loc[115, "length"] = "long"
    write_table(frame, tmp_path / "text.csv")
    refuses(deepmix("predict", home / "run", "text.csv"), 2, "'length' (continuous; row 116: 'long')")


def test_latents_of_the_table(deepmix, home):
    latents = output(deepmix("embed", home / "run", home / "table.csv"))
    run = open_run(home / "run")
    assert list(latents) == ["row", "name", *(f"z{i + 1}" for i in range(run.model.latent_dim))]
    expected = run.infer(run.training_data().take(slice(None))).latent_NM
    assert latents.iloc[:, 2:].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_evaluation_on_the_own_table_and_on_another(deepmix, home, own, tmp_path):
    result = json.loads(deepmix("evaluate", home / "run", "--json").stdout)
    assert result["heads"] == open_run(home / "run").metrics.to_json()["heads"]
    # another table may lack what the training had, and all of its rows may be of one site
    other = mixed_table(60, seed=1).drop(columns=["weight", "customer_id", "note"]).assign(site="north")
    write_table(other, tmp_path / "other.csv")
    result = deepmix("evaluate", home / "run", "--dataset", "other.csv", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    scores = json.loads(result.stdout)["heads"]["posterior"]["all"]
    assert scores["ari"] == 1.0
    assert sum(scores["sizes"]) == 60
    write_table(other.drop(columns=["width"]).assign(group=None), tmp_path / "bare.csv")
    result = deepmix("evaluate", home / "run", "--dataset", "bare.csv", "--json")
    assert result.stderr == "Note: columns that the table lacks count as missing in every row: 'width'\n"
    assert "ari" not in json.loads(result.stdout)["heads"]["posterior"]["all"]
    result = deepmix("evaluate", home / "run", "--dataset", "other.csv", "--label-column", "kind")
    refuses(result, 2, "there is no label column 'kind'")


def test_samples_look_like_the_table(deepmix, home, tmp_path):
    result = deepmix("sample", home / "run", "-n", 40, "--csv", "rows.csv")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "rows.csv").read_text()
    rows = pd.read_csv(tmp_path / "rows.csv", dtype=str)
    assert list(rows) == ["component", *MODELLED]
    assert set(rows["plan"]) == set(PLANS)
    assert set(rows["member"]) == {"no", "yes"}
    assert rows["visits"].str.fullmatch(r"\d+").all()
    assert rows["length"].str.fullmatch(r"-?\d+(\.\d)?").all()
    assert rows["spend"].str.fullmatch(r"\d+(\.\d\d?)?").all()
    assert rows["joined"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()
    assert deepmix("sample", home / "run", "-n", 40, "--csv", "again.csv").returncode == 0
    assert (tmp_path / "again.csv").read_text() == text
    assert deepmix("sample", home / "run", "-n", 40, "--seed", 1).stdout != text
    means = output(deepmix("sample", home / "run", "-n", 40, "--means"))
    of_groups = mixed_table().groupby("group")[["length", "visits"]].mean().sort_values("length")
    sampled = means.groupby("component")[["length", "visits"]].mean().sort_values("length")
    assert sampled["length"].to_numpy() == pytest.approx(of_groups["length"].to_numpy(), abs=5.0)
    assert sampled["visits"].is_monotonic_increasing
    refuses(deepmix("sample", home / "run", "--npz", "rows.npz"), 2, "trained on a table", "use --csv")


def test_imputation_fills_the_empty_cells_and_no_others(deepmix, home, tmp_path):
    result = deepmix("impute", home / "run", home / "table.csv", "--interval", 0.9, "-o", "filled.csv")
    table = pd.read_csv(home / "table.csv", dtype=str)
    filled = pd.read_csv(tmp_path / "filled.csv", dtype=str)
    n_empty = int(table[FILLED].isna().sum().sum())
    assert result.stderr == f"{n_empty} cells of 120 rows filled: filled.csv\n"
    ends = [f"{name}_{end}" for end in ("low", "high") for name in MODELLED if name not in ("plan", "member")]
    assert list(filled) == [*table, *ends]
    for name in table:
        seen = table[name].notna()
        same = filled.loc[seen, name] == table.loc[seen, name]
        if name in ("length", "width", "spend"):  # 10.0 is written as 10
            same = filled.loc[seen, name].astype(float) == table.loc[seen, name].astype(float)
        assert same.all(), name
        assert filled[name].notna().all() == (name != "group")
    assert filled["joined"].str.fullmatch(r"20\d\d-\d\d-\d\d").all()
    for name in ("length", "width", "spend", "visits", "joined"):
        assert filled[f"{name}_low"].notna().tolist() == table[name].isna().tolist()
    group, empty = true_groups(), table["plan"].isna()
    assert np.mean(filled["plan"][empty] == np.array(PLANS)[group][empty]) >= 0.6  # one in three by chance
    empty = table["length"].isna()
    lengths, low, high = (filled[name].astype(float)[empty] for name in ("length", "length_low", "length_high"))
    assert lengths.to_numpy() == pytest.approx(40.0 + 15.0 * group[empty], abs=8.0)
    assert ((low <= lengths) & (lengths <= high)).all()


def test_imputation_keeps_long_numbers_and_the_style_of_dates(deepmix, home, tmp_path):
    frame = mixed_table().head(6).assign(account=1234567890123.25)
    frame["joined"] = [None, *pd.to_datetime(frame["joined"][1:]).dt.strftime("%Y/%m/%d")]
    write_table(frame, tmp_path / "rows.csv")
    filled = output(deepmix("impute", home / "run", "rows.csv"))
    assert filled["account"].tolist() == [1234567890123.25] * 6
    assert filled["joined"].str.fullmatch(r"20\d\d/\d\d/\d\d").all()
    assert filled["joined"].tolist()[1:] == frame["joined"].tolist()[1:]


def test_the_report_shows_the_columns(deepmix, home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "run")
    assert deepmix("report", "run").returncode == 0
    page = (tmp_path / "run" / "report.html").read_text()
    for name in (*MODELLED, "customer_id", "site", "weight"):
        assert name in page
    assert "gaussian-per-column" in page
    clusters = pd.read_csv(tmp_path / "run" / "clusters.csv")
    assert len(clusters) == len(GROUPS)


def test_a_stopped_training_is_resumed_to_the_same_bits(deepmix, home, tmp_path, monkeypatch):
    from deepmix.training import Trainer

    words = ("train", "--dataset", home / "table.csv", *COLUMN_FLAGS, *TINY_TABLE)
    run_epoch, n_epochs = Trainer._run_epoch, []

    def stop_in_epoch_11(self, network, n):
        n_epochs.append(n)
        if len(n_epochs) == 12:
            self.save()
            raise KeyboardInterrupt
        return run_epoch(self, network, n)

    monkeypatch.setattr(Trainer, "_run_epoch", stop_in_epoch_11)
    assert deepmix(*words, "--out", "run").returncode != 0
    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)
    result = deepmix("train", "--resume", "--out", "run", "--quiet", "--no-report")
    assert result.returncode == 0, result.stderr
    expected, actual = (load_file(folder / "run" / "model.safetensors") for folder in (home, tmp_path))
    assert expected.keys() == actual.keys()
    assert all(np.array_equal(expected[name], actual[name]) for name in expected)
    own = pd.read_csv(home / "run" / "assignments.csv").drop(columns=["p0", "p1", "p2"])  # of --proba
    assert own.equals(pd.read_csv(tmp_path / "run" / "assignments.csv"))


def test_several_seeds(deepmix, home, own, tmp_path):
    words = ("train", "--dataset", home / "table.csv", *COLUMN_FLAGS, *TINY_TABLE)
    result = deepmix(*words, "--seeds", 2, "--out", "seeds")
    assert result.returncode == 0, result.stderr
    first, second = (pd.read_csv(tmp_path / "seeds" / f"seed-{seed}" / "assignments.csv") for seed in (0, 1))
    assert first["posterior"].tolist() == own["posterior"].tolist()
    assert first["outlier"].tolist() != second["outlier"].tolist()


def test_a_configuration_file_says_what_the_columns_are(deepmix, home, own, tmp_path):
    (tmp_path / "run.toml").write_text(
        f'''
dataset = "{home / "table.csv"}"
label_column = "group"
proba = true
init = "kmeans"
epochs = 8
pretrain_epochs = 8

[table]
weight_column = "weight"
conditions = ["site"]
'''
    )
    assert deepmix("train", "--config", "run.toml", "--out", "one", "--quiet", "--no-report").returncode == 0
    assert own.equals(pd.read_csv(tmp_path / "one" / "assignments.csv"))
    # a run's own config.json makes the same run again
    words = ("--config", home / "run" / "config.json", "--out", "two", "--quiet", "--no-report")
    result = deepmix("train", *words)
    assert result.returncode == 0, result.stderr
    assert own.equals(pd.read_csv(tmp_path / "two" / "assignments.csv"))
    (tmp_path / "wrong.toml").write_text((tmp_path / "run.toml").read_text().replace("conditions", "condition"))
    result = deepmix("train", "--config", "wrong.toml", "--out", "three", "--quiet")
    refuses(result, 2, "wrong.toml", "condition")
    assert not (tmp_path / "three").exists()


def test_columns_by_flags_and_files(deepmix, home, tmp_path):
    (tmp_path / "columns.toml").write_text('drop = ["spend"]\n\n[columns.visits]\nkind = "continuous"\n')
    words = ("--columns", "columns.toml", "--column", "length=:student-t", "--drop", "width", "--components", 3)
    result = deepmix("train", "--dataset", home / "table.csv", *words, "--out", "run", *TINY_TABLE, "--epochs", 1)
    assert result.returncode == 0, result.stderr
    schema = open_run(tmp_path / "run").schema
    likelihoods = {column.name: column.likelihood for column in schema.columns}
    kinds = {column.name: column.kind for column in schema.columns}
    assert (kinds["spend"], kinds["width"], kinds["visits"]) == ("dropped", "dropped", "continuous")
    assert likelihoods["length"] == "student-t"
    refuses(deepmix("train", "--dataset", home / "table.csv", "--drop", "size"), 2, "no column 'size'", "'customer_id'")
    refuses(
        deepmix("train", "--dataset", home / "table.csv", "--drop", "site", "--condition", "site"),
        2,
        "column 'site' is named by --drop and by --condition",
    )
