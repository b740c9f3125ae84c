"""Studies on tables from all data sources, end to end: launch, promote, reproduce."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Shell
from sqlalchemy import create_engine
from web import SECRET, serving

QUERY = "select size, age, price from houses order by id"
SHORT = ("--target", "price", "--trials", "3", "--workers", "1")


def houses() -> pd.DataFrame:
    random = np.random.default_rng(0)
    made = pd.DataFrame(random.normal(size=(200, 2)), columns=["size", "age"])
    made["price"] = 3 * made["size"] + random.normal(size=200)
    return made.rename_axis("id").reset_index()


def text() -> str:
    return houses().drop(columns="id").to_csv(index=False)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with serving({"/signed/houses.csv": text().encode(), "/locked/h.csv": text().encode()}) as host:
        yield host


@pytest.fixture
def shop(shell: Shell) -> str:
    """The address of a SQLite database in the shell's folder."""
    with closing(sqlite3.connect(shell.folder / "shop.db")) as connection:
        houses().to_sql("houses", connection, index=False)
    return "sqlite:///shop.db"


def files_containing(folder: Path, secret: str) -> list[str]:
    """Return the files in a folder that contain a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files)
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_query_is_stored_with_its_study_which_is_reproduced_from_a_copy_of_its_table(
    shell: Shell, shop: str
) -> None:
    summary = shell.json("launch", "--data", shop, "--query", QUERY, *SHORT)
    assert (summary["study"], summary["state"]) == ("shop", "finished")
    promoted = shell("promote", "shop")
    assert "shop version 1 is now in Staging" in promoted.stdout
    assert shell.json("reproduce", "shop")["reproduced"]
    assert shell.json("reproduce", "shop", "--trial", "1")["reproduced"]
    (shell.folder / "shop.db").rename(shell.folder / "moved.db")
    assert "there is no database file shop.db" in shell("reproduce", "shop", expect=1).stderr
    assert shell.json("reproduce", "shop", "--data", "sqlite:///moved.db")["reproduced"]
    (shell.folder / "houses.csv").write_text(text())
    assert shell.json("reproduce", "shop", "--trial", "1", "--data", "houses.csv")["reproduced"]


@pytest.mark.slow
def test_a_secret_in_an_address_is_stored_nowhere_and_must_be_given_again(
    shell: Shell, web: str
) -> None:
    address = f"http://{web}/signed/houses.csv?X-Amz-Signature="
    done = shell("launch", "--data", address + SECRET, *SHORT, "--json")
    named = ("houses", "--model", "houses", "--experiment", "houses")
    locked = f"http://ann:{SECRET}@{web}/locked/h.csv"
    again = shell("launch", *named, "--data", locked, *SHORT)
    assert "ui --study houses" in again.stdout
    asks = "X-Amz-Signature=*** was stored without its secrets"
    assert asks in shell("promote", "houses", expect=1).stderr
    assert asks in shell("reproduce", "houses", "--trial", "1", expect=1).stderr
    promoted = shell("promote", "houses", "--data", address + SECRET)
    assert "is now in Staging" in promoted.stdout
    reproduced = shell("reproduce", "houses", "--data", address + SECRET)
    shown = shell("show", "houses", "--json")
    shell("report", "houses")
    shell("init", address + SECRET, "-o", "houses.toml")
    debugged = shell("--debug", "launch", "--data", f"{address}no-{SECRET}", expect=1, traced=True)
    assert files_containing(shell.folder, SECRET) == []
    for run in (done, again, promoted, reproduced, shown, debugged):
        assert SECRET not in run.stdout + run.stderr


@pytest.mark.slow
def test_the_password_is_not_part_of_the_study_and_may_be_missing(
    shell: Shell, postgres: Callable[[], str]
) -> None:
    address = postgres()
    engine = create_engine(address)
    houses().to_sql("houses", engine, index=False)
    engine.dispose()
    asked = ("--query", QUERY, "--model", "shop", "--experiment", "shop", *SHORT)
    shell("launch", "shop", "--data", address.replace(":@", f":{SECRET}@"), *asked)
    done = shell("launch", "shop", "--data", address.replace(":@", f":other-{SECRET}@"), *asked)
    assert "ui --study shop" in done.stdout
    # This server needs no password; others read it from PGPASSWORD or .pgpass.
    assert "is now in Staging" in shell("promote", "shop").stdout
    assert shell.json("reproduce", "shop", "--trial", "1")["reproduced"]
    assert files_containing(shell.folder, SECRET) == []


@pytest.mark.slow
def test_a_piped_table_must_be_piped_again(shell: Shell) -> None:
    done = shell("launch", "--data", "-", *SHORT, piped=text())
    assert "ui --study stdin" in done.stdout
    again = shell("launch", "--data", "-", *SHORT, piped=text())
    assert "ui --study stdin" in again.stdout
    asks = "came from standard input: pipe it again into --data -"
    for command in (
        ("promote", "stdin"),
        ("reproduce", "stdin"),
        ("reproduce", "stdin", "--trial", "1"),
    ):
        assert asks in shell(*command, expect=1).stderr
    assert "is now in Staging" in shell("promote", "stdin", "--data", "-", piped=text()).stdout
    other = shell("launch", "--data", "-", *SHORT, piped=text() + "1,2,3\n", expect=1)
    assert "was made with another specification: data_digest" in other.stderr


@pytest.mark.slow
def test_the_file_that_init_writes_for_a_query_can_be_launched(shell: Shell, shop: str) -> None:
    shell("init", shop, "--query", QUERY, "--target", "price")
    summary = shell.json("launch", "--config", "shop.toml", "--trials", "3", "--workers", "1")
    assert summary["state"] == "finished"
    toml = shell("init", "-", "-o", "piped.toml", piped=text())
    assert toml.stdout == "piped.toml\n"
    piped = shell(
        "launch", "--config", "piped.toml", "--trials", "3", "--workers", "1", piped=text()
    )
    assert "ui --study stdin" in piped.stdout


@pytest.mark.slow
def test_a_study_with_hundreds_of_classes_end_to_end(shell: Shell) -> None:
    classes = np.arange(1200) % 400
    table = pd.DataFrame(
        {"a": classes + np.sin(np.arange(1200)), "kind": [f"k{c}" for c in classes]}
    )
    table.to_csv(shell.folder / "many.csv", index=False)
    printed = shell(
        "launch", "--data", "many.csv", "--holdout", "0", "--trials", "2", "--trees", "3"
    )
    assert "champion: 3 trees" in printed.stderr
    assert "registered: many version 1" in printed.stdout
    shell("report", "many")
    assert shell.json("reproduce", "many")["reproduced"]
    shell("launch", "judged", "--data", "many.csv", "--trials", "2", "--trees", "3")
    assert shell("promote", "many", "--version", "2").stdout


@pytest.mark.slow
def test_a_study_on_a_table_with_odd_columns_end_to_end(shell: Shell) -> None:
    odd = "a/b:c%$#@!\"'`\\\n{}[]<>é☃ "
    table = houses().rename(columns={"size": odd, "age": "x" * 500, "price": f"y{odd}"})
    table = table.assign(
        constant=1,
        empty=None,
        far=np.array(["9999-01-01", "0001-01-01"] * 100, dtype="datetime64[s]"),
        mixed=[str(k) if k % 2 else "word" for k in range(200)],
        holes=pd.array([1, None] * 100, dtype="Int64"),
        wide=["q" * 10_000, "z"] * 100,
        huge=np.arange(200, dtype="uint64") + 2**63,
    )
    table.to_parquet(shell.folder / "odd.parquet")
    asked = ("--target", f"y{odd}", "--trials", "3", "--workers", "1")
    summary = shell.json("launch", "--data", "odd.parquet", *asked)
    assert (summary["state"], summary["mirror"]["behind"]) == ("finished", 0)
    assert "is now in Staging" in shell("promote", "odd").stdout
    shell("report", "odd")
    assert shell.json("reproduce", "odd")["reproduced"]
