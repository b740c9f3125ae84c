"""Groups, times, weights, and metrics that need a guide metric, end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from agreement import assert_agreement
from conftest import Shell
from mlflow import MlflowClient

TRIALS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with a table of the visits of 40 patients, for several studies."""
    shell = Shell(tmp_path_factory.mktemp("roles"))
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(40), 6)
    age = random.normal(50, 9, 40)[who]
    dose = random.uniform(0, 1, 240)
    strength = 2 * dose + (age - 50) / 9 + random.normal(0, 0.7, 240)
    visits = pd.DataFrame(
        {
            "patient": who,
            "visited": pd.date_range("2024-01-01", periods=120).repeat(2).strftime("%Y-%m-%d"),
            "counts": random.uniform(0.5, 1.5, 240),
            "age": age,
            "dose": dose,
            "strength": strength,
            "well": np.where(strength > 0.8, "yes", "no"),
        }
    )
    visits.drop(columns="well").to_csv(shell.folder / "strength.csv", index=False)
    visits.drop(columns="strength").to_csv(shell.folder / "well.csv", index=False)
    return shell


def launched(folder: Shell, name: str, data: str, *options: str) -> tuple[dict[str, Any], str]:
    """Launch a study in the folder, and return its summary and its messages."""
    printed = folder(
        *("launch", name, "--data", data, "--trials", str(TRIALS), "--no-register"),
        *("--workers", "2", *options),
    ).stderr
    summary: dict[str, Any] = folder.json("show", name)
    counts = summary["trials"]
    assert (summary["state"], counts["complete"] + counts["pruned"]) == ("finished", TRIALS)
    assert summary["mirror"] == {"runs": TRIALS, "behind": 0}
    return summary, printed


@pytest.mark.slow
def test_groups_are_cross_validated_and_a_ranking_metric_is_maximised(folder: Shell) -> None:
    options = ("--group", "patient", "--metric", "auc", "--folds", "3")
    summary, printed = launched(folder, "groups", "well.csv", *options)
    assert "scored by 3 folds of whole groups" in printed
    assert (summary["metric"], summary["direction"]) == ("roc_auc", "maximize")
    assert 0.6 < summary["best"]["value"] <= 1
    assert "roc_auc" in summary["holdout"]
    parent = assert_agreement(folder.storage, folder.tracking_uri, "groups")
    assert parent.data.params["evaluation"] == "3 folds"
    assert parent.data.params["group"] == "patient"
    assert parent.data.metrics["best_roc_auc"] == summary["best"]["value"]


@pytest.mark.slow
def test_dropped_and_categorical_columns_are_recorded_with_the_study(folder: Shell) -> None:
    columns = ("--drop", "visited", "--drop", "counts", "--categorical", "patient")
    launched(folder, "columns", "strength.csv", *columns)
    parent = assert_agreement(folder.storage, folder.tracking_uri, "columns")
    assert parent.data.params["drop"] == "['counts', 'visited']"
    assert parent.data.params["categorical"] == "['patient']"
    code = folder("best", "columns", "--python").stdout
    assert "rows.drop(columns=['counts', 'visited'])" in code
    options = ("launch", "columns", "--data", "strength.csv")
    failed = folder(*options, *columns[2:], expect=1)
    assert "drop is ['counts'], was ['counts', 'visited']" in failed.stderr
    failed = folder(*options, "--drop", "visitd", expect=2)
    assert "--drop 'visitd' is not a column of the table (did you mean 'visited'?)" in failed.stderr


@pytest.mark.slow
def test_times_are_scored_on_later_rows_and_no_forest_is_grown_twice(
    folder: Shell, tmp_path: Path
) -> None:
    """In a space of two forests, the other two trials are copies, in both stores."""
    config = tmp_path / "two.toml"
    config.write_text(
        '[space]\nsplitter = "best"\nmax_features = 0.5\nmin_samples_leaf = [2, 5]\n'
        "max_samples = 1.0\n"
    )
    options = ("--time", "visited", "--config", str(config))
    summary, printed = launched(folder, "times", "strength.csv", *options)
    assert "scored by 5 folds, each later than the rows its trees grow on" in printed
    assert summary["metric"] == "rmse"
    assert set(summary["holdout"]) == {"rmse", "mse", "mae", "r2"}
    parent = assert_agreement(folder.storage, folder.tracking_uri, "times")
    assert parent.data.params["time"] == "visited"
    copies = MlflowClient(folder.tracking_uri).search_runs(
        [parent.info.experiment_id], "tags.`grovekeeper.copies` != ''"
    )
    assert len(copies) == 2


@pytest.mark.slow
def test_weights_count_and_the_brier_score_guides_log_loss(folder: Shell) -> None:
    options = ("--weight", "counts", "--metric", "log_loss")
    summary, _ = launched(folder, "weights", "well.csv", *options)
    assert (summary["metric"], summary["direction"]) == ("log_loss", "minimize")
    assert {"log_loss", "brier"} <= set(summary["holdout"])
    parent = assert_agreement(folder.storage, folder.tracking_uri, "weights")
    assert parent.data.params["weight"] == "counts"
    client = MlflowClient(folder.tracking_uri)
    found = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    for run in found:
        curve = client.get_metric_history(run.info.run_id, "brier")
        assert [point.step for point in curve] == [16, 64, 128][: len(curve)]
        assert len(client.get_metric_history(run.info.run_id, "log_loss")) == 1
