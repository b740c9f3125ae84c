"""`grovekeeper init` writes a configuration file that `launch` accepts."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Shell


@pytest.fixture
def houses(shell: Shell) -> Shell:
    values = np.random.default_rng(0).normal(size=(200, 3))
    houses = pd.DataFrame(values, columns=["size", "age", "luck"])
    houses["price"] = 2 * houses["size"] + houses["age"]
    houses.to_csv(shell.folder / "houses.csv", index=False)
    return shell


@pytest.mark.slow
def test_the_file_can_be_launched(houses: Shell) -> None:
    assert houses("init", "houses.csv").stdout == "houses.toml\n"
    summary = houses.json("launch", "--config", "houses.toml", "--trials", "3", "--no-register")
    assert (summary["study"], summary["state"]) == ("houses", "finished")


def test_an_existing_file_is_not_overwritten(houses: Shell) -> None:
    mine = houses.folder / "houses.toml"
    mine.write_text("trials = 7\n")
    printed = houses("init", "houses.csv", expect=2).stderr
    assert "houses.toml already exists: choose another file with --output" in printed
    assert mine.read_text() == "trials = 7\n"
    houses("init", "houses.csv", "-o", "other.toml", "--target", "size")
    assert 'target = "size"' in Path(houses.folder / "other.toml").read_text(encoding="utf-8")


def test_a_missing_table_leaves_no_file(houses: Shell) -> None:
    assert "does not exist" in houses("init", "hauses.csv", expect=1).stderr
    assert not (houses.folder / "hauses.toml").exists()


def test_a_name_that_is_not_utf_8_is_reported_and_leaves_no_file(houses: Shell) -> None:
    odd = os.fsdecode(b"caf\xe9.csv")
    (houses.folder / odd).write_text("a,y\n" + "".join(f"{k},{k / 2}\n" for k in range(40)))
    refused = houses("init", odd, expect=2)
    assert "is not valid UTF-8: rename it" in refused.stderr
    assert not list(houses.folder.glob("caf*.toml"))
