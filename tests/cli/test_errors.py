"""Invalid input: one line on stderr names the value and the remedy, and no file is written."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from conftest import Shell
from processes import INSTALLED, environment

Here = Callable[..., int]

NUMBERS = "a,b,c,d,y\n" + "".join(f"{i},{i % 7},at {i},{i - 1},{i}.5\n" for i in range(60))
BY_GROUP = ["launch", "--data", "{numbers}", "--group", "b", "--holdout", "0"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["launch", "--data", "none.csv"], 1, "--data none.csv does not exist"),
        (["launch", "--data", "{empty}"], 1, "is empty"),
        (["launch", "--data", "{folder}"], 1, "is a folder without Parquet files"),
        (["launch", "--data", "/dev/zero"], 1, "is a pipe or a device: pipe it into --data -"),
        (["launch", "--data", "a\nb.csv"], 1, "--data a b.csv does not exist"),
        (["launch", "--data", "{numbers}", "--query", "select 1"], 2, "--query is for a database"),
        (["launch", "--data", "sqlite:///s.db"], 2, "is a database: say what to read with --query"),
        (["launch", "--data", "sqlite:///s.db", "--query", "select 1"], 1, "no database file s.db"),
        (["launch", "--data", "gs://b/t.csv"], 1, "Please install gcsfs"),
        (["launch", "--data", "{numbers}", "--max-rows", "59"], 1, "more than 59 rows"),
        (["launch", "--data", "{numbers}", "--max-bytes", "100"], 1, "more than 100 bytes"),
        (["launch", "--data", "{numbers}", "--max-bytes", "much"], 2, "max_bytes 'much'"),
        (["launch", "--data", "{numbers}", "--max-rows", "0"], 2, "max_rows '0'"),
        (["launch", "--data", "{nested}"], 1, "column 'y' holds values of type ndarray"),
        (["launch", "--data", "{named}"], 1, "has a name of 10,000 characters"),
        (["launch", "--data", "{nul}"], 1, "it holds NUL bytes"),
        (["launch", "--data", "{numbers}", "--target", "z"], 2, "its columns are a, b, c, d, y"),
        (["launch", "--data", "{constant}"], 1, "is 3 in all 60 rows"),
        (["launch", "--data", "{untargeted}"], 1, "all 60 values of the target 'y' are missing"),
        (["launch", "--data", "{numbers}", "--weight", "bb"], 2, "did you mean 'b'?"),
        (["launch", "--data", "{numbers}", "--group", "y"], 2, "--group 'y' is the target"),
        (["launch", "--data", "{numbers}", "--time", "c"], 1, "--time 'c' holds neither numbers"),
        (["launch", "--data", "{numbers}", "--weight", "d"], 1, "--weight 'd' holds -1"),
        ([*BY_GROUP, "--time", "a"], 2, "--group and --time together are not supported"),
        ([*BY_GROUP, "--folds", "9"], 1, "7 groups are too few for 9 folds: give fewer with"),
        ([*BY_GROUP, "--evaluation", "oob"], 2, "a tree would see rows of the same group"),
        (
            ["launch", "--data", "{numbers}", "--weight", "b", "--metric", "max_error"],
            2,
            "--metric max_error does not work with these row weights",
        ),
        (["launch", "--evaluation", "loo"], 2, "evaluation 'loo'"),
        (["launch", "--folds", "1"], 2, "folds '1'"),
        (["launch", "--metric", "rsme"], 2, "did you mean 'rmse'?"),
        (["launch", "--metric", "accuracy"], 2, "does not fit regression"),
        (["launch", "--trials", "0"], 2, "trials '0'"),
        (["launch", "--trials", "many"], 2, "many"),
        (["launch", "no good"], 2, "study name 'no good'"),
        (["launch", "--model", "a/b"], 2, "model name 'a/b'"),
        (["launch", "x" * 101], 2, "up to 100 letters"),
        (["launch", "--config", "none.toml"], 2, "none.toml"),
        (["--storage", "nonsense", "launch"], 1, "'nonsense' is not a database address"),
        (["--storage", "sqlite:////no/such/o.db", "launch"], 1, "there is no folder /no/such"),
        (["--storage", "sqlite:///{numbers}", "launch"], 1, "not a database"),
        (
            ["--storage", "sqlite:///a.db", "--tracking-uri", "sqlite:///a.db", "launch"],
            2,
            "separate databases",
        ),
        (["--tracking-uri", "http://127.0.0.1:9", "launch"], 1, "does not answer"),
        (["--tracking-uri", "sqlite:////no/such/m.db", "launch"], 1, "there is no folder /no/such"),
        (["studies"], 1, "grovekeeper launch"),
        (["show", "diabetes"], 1, "grovekeeper launch"),
        (["sync"], 1, "grovekeeper launch"),
        (["stop", "diabetes"], 1, "grovekeeper launch"),
        (["promote", "diabetes"], 1, "grovekeeper launch"),
        (["promote", "diabetes", "--to", "Moon"], 2, "Staging and Production"),
        (["promote", "a'b"], 2, "a'b"),
        (["ui"], 1, "grovekeeper launch"),
        (["lunch"], 2, "lunch"),
        (["launch", "--trails", "3"], 2, "--trails"),
    ],
)
def test_one_line_names_the_value_and_no_file_is_written(
    arguments: list[str],
    code: int,
    says: str,
    here: Here,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = {
        "empty": "",
        "numbers": NUMBERS,
        "constant": "a,y\n" + "".join(f"{i},3\n" for i in range(60)),
        "named": "a," + "y" * 10_000 + "\n" + "".join(f"{i},{i}\n" for i in range(60)),
        "nul": NUMBERS + "\0,1,at,2,3\n",
        "untargeted": "a,y\n" + "".join(f"{i},\n" for i in range(60)),
    }
    paths = {}
    for name, text in files.items():
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text(text)
    paths["folder"] = tmp_path / "folder"
    paths["folder"].mkdir()
    paths["nested"] = tmp_path / "nested.parquet"
    nested = pd.DataFrame({"x": range(60), "y": [[1, 2]] * 60})
    nested.to_parquet(paths["nested"])
    assert here(*(argument.format(**paths) for argument in arguments)) == code
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("grovekeeper: ")
    assert says in printed.err
    assert os.listdir() == []


def test_debug_shows_the_traceback(here: Here, capfd: pytest.CaptureFixture[str]) -> None:
    assert here("--debug", "launch", "--data", "none.csv") == 1
    assert "Traceback" in capfd.readouterr().err


def test_passwords_are_not_repeated(here: Here, capfd: pytest.CaptureFixture[str]) -> None:
    address = "postgresql+psycopg://ann:swordfish@127.0.0.1:9/db"
    assert here("--debug", "launch", "--data", address, "--query", "select 1") == 1
    assert here("--debug", "launch", "--data", address) == 2
    assert here("--debug", "launch", "--data", "http://127.0.0.1:9/t.csv?sig=swordfish") == 1
    assert here("--storage", address, "studies") == 1
    assert here("--tracking-uri", "http://ann:swordfish@127.0.0.1:9", "promote", "m") == 1
    assert "swordfish" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_an_older_schema_names_the_command_that_upgrades_it(
    launched: Shell, shell: Shell, name: str
) -> None:
    import shutil
    import sqlite3

    for source in launched.folder.glob("*.db*"):
        shutil.copy(source, shell.folder)
    connection = sqlite3.connect(shell.folder / name)
    old = "v2.6.0.a" if name == "optuna.db" else "451aebb31d03"
    connection.execute("update alembic_version set version_num = ?", [old])
    connection.commit()
    connection.close()
    printed = shell("launch", "--trials", "12", expect=1).stderr
    upgrade = "optuna storage upgrade" if name == "optuna.db" else "mlflow db upgrade"
    assert upgrade in printed
    assert printed.count("\n") == 1


def test_the_error_for_a_missing_study_or_model_lists_those_that_exist(launched: Shell) -> None:
    assert "did you mean 'diabetes'" in launched("show", "diabetis", expect=1).stderr
    assert "registered models: diabetes" in launched("promote", "houses", expect=1).stderr
    assert "did you mean 'diabetes'" in launched("promote", "diabetis", expect=1).stderr
    assert "there are 1" in launched("promote", "diabetes", "--version", "7", expect=2).stderr


def test_the_ui_reports_that_its_port_is_in_use(launched: Shell) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "try another --host or --port" in launched("ui", "--port", port, expect=1).stderr


@pytest.mark.slow
def test_with_a_server_ui_prints_the_address_of_the_server(
    shell: Shell, mlflow_server: str
) -> None:
    printed = shell("--tracking-uri", mlflow_server, "ui").stdout
    assert printed.strip() == f"MLflow UI: {mlflow_server}"


def test_the_version_is_printed() -> None:
    printed = subprocess.run([INSTALLED, "--version"], capture_output=True, text=True, check=True)
    assert printed.stdout.startswith("grovekeeper ")


def test_a_shell_completes_commands() -> None:
    asked = {"COMP_WORDS": "grovekeeper pro", "COMP_CWORD": "1"}
    done = subprocess.run(
        [INSTALLED],
        env=environment() | asked | {"_GROVEKEEPER_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["promote"]


def test_too_many_classes_are_refused_with_the_memory_they_need(
    here: Here, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{k % 7},c{k % 20_000}" for k in range(200_000)]
    Path("many.csv").write_text("\n".join(["x,y", *lines]))
    assert here("launch", "--data", "many.csv", "--holdout", "0") == 1
    printed = capfd.readouterr().err
    assert re.search(r"200000 rows x 20000 classes need \S+ \wB in each of \d+ workers", printed)
    assert os.listdir() == ["many.csv"]


def test_a_database_that_stays_locked_is_named_in_one_line(
    launched: Shell,
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(launched.folder)
    monkeypatch.setattr("storage.database._LOCK_TIMEOUT", 0.2)
    with closing(sqlite3.connect("optuna.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        assert here("delete", "diabetes", "--yes") == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    said = "a database cannot be used: database is locked; run the same command again"
    assert line.startswith(f"grovekeeper: {said}")
