"""`grovekeeper launch` end to end."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pandas as pd
import pytest
from agreement import assert_agreement
from conftest import Shell
from forks import Fork
from mlflow import MlflowClient
from mlflow_stores import make_tables
from processes import COMMAND, INSTALLED

from storage.registry.client import folder_digest


def load_model(tracking_uri: str, model_uri: str) -> Any:
    mlflow.set_tracking_uri(tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(model_uri)


def wait_for(shell: Shell, trials: int, process: "subprocess.Popen[str] | Fork") -> None:
    """Wait until the study in the shell's folder has this number of finished trials."""
    address = f"file:{shell.folder}/optuna.db?mode=ro"
    query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        # Reading the database takes less time than `show`, in which many more trials would end.
        with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as database:
            if database.execute(query).fetchone()[0] >= trials:
                return
        time.sleep(0.05)
    pytest.fail("the study did not get on")


def test_launch_makes_a_study_and_a_registered_model(launched: Shell) -> None:
    names = {path.name.split("-")[0] for path in launched.folder.iterdir()}
    assert names == {"optuna.db", "mlflow.db", "mlruns"}
    summary = launched.json("show", "diabetes")
    assert set(summary) == {
        *("study", "state", "metric", "direction", "trials", "lease", "best", "holdout"),
        *("model", "mirror", "mlflow", "seconds", "evaluation", "covered", "champion"),
        *("classes", "positive", "format_version"),
    }
    assert (summary["study"], summary["state"], summary["lease"]) == ("diabetes", "finished", None)
    assert (summary["metric"], summary["direction"]) == ("rmse", "minimize")
    counts = summary["trials"]
    assert counts["complete"] + counts["pruned"] == counts["goal"] == 10
    assert set(summary["best"]) == {"number", "value", "params", "state", "rows", "model_bytes"}
    assert "splitter" in summary["best"]["params"]
    assert summary["model"] == {"name": "diabetes", "version": 1}
    assert summary["mirror"] == {"runs": 10, "behind": 0}
    assert set(summary["holdout"]) == {"rmse", "mse", "mae", "r2"}


def test_mlflow_mirrors_optuna_exactly(launched: Shell) -> None:
    parent = assert_agreement(launched.storage, launched.tracking_uri, "diabetes")
    summary = launched.json("show", "diabetes")
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "diabetes"
    assert parent.info.run_id == summary["mlflow"]["run_id"]
    assert parent.data.metrics["best_rmse"] == summary["best"]["value"]
    assert parent.data.metrics["holdout_rmse"] == summary["holdout"]["rmse"]
    assert parent.data.params["metric"] == "rmse"


def test_the_version_records_its_origin_and_the_digest_of_its_files(launched: Shell) -> None:
    client = MlflowClient(launched.tracking_uri)
    (version,) = client.search_model_versions("name = 'diabetes'")
    summary = launched.json("show", "diabetes")
    assert version.run_id == summary["mlflow"]["run_id"]
    tags = version.tags
    assert tags["grovekeeper.study"] == "diabetes"
    assert tags["grovekeeper.trial"] == str(summary["best"]["number"])
    assert float(tags["grovekeeper.holdout_rmse"]) == summary["holdout"]["rmse"]
    assert len(tags["grovekeeper.data_digest"]) == 64
    (model,) = client.search_logged_models(
        [client.get_run(version.run_id or "").info.experiment_id]
    )
    assert model.source_run_id == version.run_id
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "diabetes", "version": 1}]
    folder = Path(model.artifact_location.removeprefix("file://"))
    assert folder_digest(folder) == tags["grovekeeper.model_sha256"]


def test_studies_lists_the_launched_study(launched: Shell) -> None:
    (summary,) = launched.json("studies")
    assert summary == launched.json("show", "diabetes")
    assert "diabetes  finished" in launched("studies").stdout


def test_repeating_a_finished_launch_changes_nothing(launched: Shell) -> None:
    before = launched.json("show", "diabetes")
    again = launched.json("launch", "--trials", "10")
    assert again | {"seconds": 0} == before | {"seconds": 0}
    assert len(MlflowClient(launched.tracking_uri).search_model_versions("name='diabetes'")) == 1


@pytest.mark.slow
def test_a_champion_missing_from_the_registry_is_registered_again(
    launched: Shell, shell: Shell
) -> None:
    for source in launched.folder.glob("optuna.db*"):
        shutil.copy(source, shell.folder)
    summary = shell.json("launch", "--trials", "10")
    assert summary["model"] == {"name": "diabetes", "version": 1}
    assert summary["trials"] == launched.json("show", "diabetes")["trials"]
    assert_agreement(shell.storage, shell.tracking_uri, "diabetes")
    shell("promote", "diabetes")


def test_studies_of_other_tools_are_listed_and_not_changed(launched: Shell, shell: Shell) -> None:
    for source in launched.folder.glob("*.db*"):
        shutil.copy(source, shell.folder)
    storage = optuna.storages.RDBStorage(shell.storage)
    optuna.create_study(study_name="theirs", storage=storage, directions=["minimize"] * 2)
    storage.remove_session()
    storage.engine.dispose()
    assert [study["study"] for study in shell.json("studies")] == ["diabetes", "theirs"]
    assert "theirs" in shell("show", "theirs").stdout
    assert [study["study"] for study in shell.json("sync")] == ["diabetes"]
    assert "has no trial yet" in shell("sync", "theirs", expect=1).stderr


def test_a_different_specification_is_refused_and_the_difference_named(launched: Shell) -> None:
    refused = launched("launch", "--seed", "3", "--metric", "mae", "--trials", "12", expect=1)
    assert refused.stderr.count("\n") == 1
    assert "metric is mae, was rmse; seed is 3, was 0" in refused.stderr


def test_sync_rebuilds_an_empty_mlflow_and_is_idempotent(launched: Shell) -> None:
    (level,) = launched.json("sync", "diabetes")
    assert (level["runs"], level["changed"]) == (10, 0)
    empty = f"sqlite:///{launched.folder}/rebuilt.db"
    copy = Shell(launched.folder)
    (first,) = copy.json("--tracking-uri", empty, "sync", "diabetes")
    (second,) = copy.json("--tracking-uri", empty, "sync")
    assert (first["runs"], first["changed"]) == (10, 10)
    assert (second["runs"], second["changed"]) == (10, 0)
    assert_agreement(launched.storage, empty, "diabetes")
    launched(
        "sync"
    )  # sync stored the address of the new mirror with the study: restore the old one
    for leftover in launched.folder.glob("rebuilt.db*"):
        leftover.unlink()


@pytest.mark.slow
def test_a_raw_table_on_a_server_and_continued(
    shell: Shell, mixed_csv: Path, mixed_table: pd.DataFrame, mlflow_server: str
) -> None:
    common = ["--tracking-uri", mlflow_server, "launch", "rows", "--data", str(mixed_csv)]
    common += ["--target", "price", "--metric", "mae", "--experiment", "rows", "--model", "rows"]
    first = shell(*common, "--trials", "2", "--no-register")
    assert "rows have no 'price' and are left out" in first.stderr
    summary = shell.json(*common, "--trials", "4")
    counts = summary["trials"]
    assert counts["complete"] + counts["pruned"] == 4
    assert summary["mlflow"]["url"].startswith(f"{mlflow_server}/#/experiments/")
    assert_agreement(shell.storage, mlflow_server, "rows")
    shell("--tracking-uri", mlflow_server, "promote", "rows")
    model = load_model(mlflow_server, "models:/rows/Staging")
    predicted = model.predict(mixed_table.drop(columns="price"))
    truth = mixed_table["price"].to_numpy()
    known = ~np.isnan(truth)
    assert np.corrcoef(predicted[known], truth[known])[0, 1] > 0.8
    assert {path.name.split("-")[0] for path in shell.folder.iterdir()} == {"optuna.db"}


@pytest.mark.slow
def test_a_signal_ends_the_launch_cleanly_and_the_next_continues_it(shell: Shell) -> None:
    def wait_and_signal(number: signal.Signals, trials: int, *, to_workers: bool) -> int:
        """Signal a launch when the study has some trials; return how many have ended."""
        # Workers that share a process group with their command need a command with own imports.
        command = INSTALLED if to_workers else COMMAND
        process = shell.start(
            *launch, "--trials", "100000", command=command, start_new_session=True
        )
        wait_for(shell, trials, process)
        if to_workers:
            os.killpg(process.pid, number)  # like a terminal, which signals the workers, too
        else:
            process.send_signal(number)
        _, printed = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "Traceback" not in printed
        assert "with the same options continues it" in printed
        summary = shell.json("show", "diabetes")
        assert (summary["state"], summary["lease"]) == ("interrupted", None)
        assert summary["trials"]["running"] == 0
        if " behind" in printed:  # an interrupted launch does not wait for MLflow to start
            shell("sync", "diabetes")
        parent = assert_agreement(shell.storage, shell.tracking_uri, "diabetes")
        assert parent.info.status == "KILLED"
        return int(summary["trials"]["complete"] + summary["trials"]["pruned"])

    launch = ("launch", "--no-register")
    done = wait_and_signal(signal.SIGTERM, 3, to_workers=False)
    done = wait_and_signal(signal.SIGINT, done + 1, to_workers=True)
    summary = shell.json(*launch, "--trials", str(done + 2))
    assert summary["state"] == "finished"
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == done + 2
    assert summary["model"] is None
    assert_agreement(shell.storage, shell.tracking_uri, "diabetes")


@pytest.mark.faults
def test_a_killed_launch_is_lost_until_the_next_one_takes_over(shell: Shell) -> None:
    process = shell.fork("launch", "--trials", "100000", "--no-register")
    wait_for(shell, 3, process)
    assert shell.json("show", "diabetes")["state"] == "running"
    refused = shell("launch", "--trials", "5", expect=1)
    assert f"(process {process.pid})" in refused.stderr
    process.kill()
    process.wait()
    summary = shell.json("show", "diabetes")
    assert summary["state"] == "lost"
    done = summary["trials"]["complete"] + summary["trials"]["pruned"]
    summary = shell.json("launch", "--trials", str(done + 3))
    assert summary["state"] == "finished"
    assert summary["trials"]["complete"] + summary["trials"]["pruned"] == done + 3
    assert summary["trials"]["running"] == 0
    assert summary["model"] == {"name": "diabetes", "version": 1}
    assert_agreement(shell.storage, shell.tracking_uri, "diabetes")


@pytest.mark.slow
def test_a_time_limit_ends_the_search(shell: Shell) -> None:
    summary = shell.json("launch", "--trials", "100000", "--timeout", "1", "--no-register")
    assert summary["state"] == "stopped"
    assert summary["trials"]["complete"] >= 1


@pytest.mark.slow
def test_a_time_limit_shorter_than_a_trial_still_registers_a_champion(shell: Shell) -> None:
    summary = shell.json("launch", "--trials", "100000", "--timeout", "0.1")
    assert summary["state"] == "stopped"
    assert summary["model"] == {"name": "diabetes", "version": 1}
    assert summary["champion"]["trees"] >= 100


@pytest.mark.slow
def test_without_a_terminal_progress_is_printed_in_lines_unless_quiet(shell: Shell) -> None:
    printed = shell("launch", "--trials", "2", "--no-register").stderr.splitlines()
    lines = [line for line in printed if "/2 trials" in line]
    assert 1 <= len(lines) <= 3
    assert lines[-1].startswith("2/2 trials")
    quiet = shell("--quiet", "launch", "--trials", "3", "--no-register")
    assert (quiet.stdout, quiet.stderr) == ("", "")


@pytest.mark.slow
def test_a_file_sets_options_and_space_and_flags_override_it(shell: Shell) -> None:
    (shell.folder / "study.toml").write_text(
        'study = "narrow"\ntrials = 9\nseed = 4\nregister = false\n'
        "[space]\nmax_features = {low = 0.2, high = 0.4}\nmax_depth = 5\n"
    )
    summary = shell.json("launch", "--config", "study.toml", "--trials", "3")
    assert (summary["study"], summary["trials"]["goal"]) == ("narrow", 3)
    assert summary["best"]["params"]["max_depth"] == 5
    assert 0.2 <= summary["best"]["params"]["max_features"] <= 0.4


_SLOW_TO_IMPORT = """
import sys, threading, time
import search.model.finalize
from search.cli import main

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "requests" and threading.current_thread().name == "mirror-writer":
            time.sleep(2)

make = search.model.finalize.make_champion

def make_and_tell(*arguments):
    print("MLflow is there:", hasattr(sys.modules["mlflow"], "MlflowClient"))
    return make(*arguments)

if __name__ == "__main__":
    sys.meta_path.insert(0, Slow())
    search.model.finalize.make_champion = make_and_tell
    main()
"""


@pytest.mark.slow
def test_the_champion_waits_for_the_import_of_mlflow(shell: Shell) -> None:
    make_tables(shell.folder / "mlflow.db")  # not by migrations, which take seconds
    (shell.folder / "slow.py").write_text(_SLOW_TO_IMPORT)
    slow = Shell(shell.folder, (sys.executable, "slow.py"))
    done = slow("launch", "--trials", "2", "--no-register", "--workers", "1")
    assert "MLflow is there: True" in done.stdout
