"""Studies in databases that earlier versions wrote can be shown and continued."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Shell

ASSETS = Path(__file__).with_name("upgrade_assets")
STUDIES = {path.stem.split("-")[0]: path for path in sorted(ASSETS.glob("*.db"))}


@pytest.fixture(params=STUDIES)
def name(request: pytest.FixtureRequest, shell: Shell) -> str:
    shutil.copy(STUDIES[request.param], shell.folder / "optuna.db")
    return str(request.param)


def printed_then(name: str) -> Any:
    return json.loads(STUDIES[name].with_suffix(".json").read_text(encoding="utf-8"))


def test_a_study_is_shown_as_by_the_version_that_wrote_it(shell: Shell, name: str) -> None:
    then, now = printed_then(name), shell.json("show", name)
    # Later versions add fields to these parts.
    for part in ("best", "champion"):
        now[part] = {key: now[part][key] for key in then[part]}
    assert {key: now[key] for key in then} == then
    (listed,) = shell.json("studies")
    same = now.keys() - {"best", "champion"}
    assert {key: listed[key] for key in same} == {key: now[key] for key in same}
    best = shell.json("best", name)
    assert {"number": best["trial"], "value": best["value"], "params": best["params"]} == (
        then["best"]
    )


@pytest.mark.slow
def test_a_report_has_all_figures_of_the_champion(shell: Shell, name: str) -> None:
    figures = {figure["name"]: figure["shown"] for figure in shell.json("report", name)["figures"]}
    assert figures["columns"]
    assert figures["errors"]
    html = (shell.folder / f"{name}.html").read_text(encoding="utf-8")
    assert f"grovekeeper reproduce {name} --version 1" in html


@pytest.mark.slow
def test_a_launch_continues_the_study(shell: Shell) -> None:
    shutil.copy(STUDIES["diabetes"], shell.folder / "optuna.db")
    then, now = printed_then("diabetes"), shell.json("launch", "--trials", "7", "--workers", "1")
    counts = now["trials"]
    assert counts["complete"] + counts["pruned"] == 7
    assert now["state"] == "finished"
    assert now["best"]["value"] <= then["best"]["value"]
    assert now["seconds"]["total"] > then["seconds"]["total"]
    if now["champion"] == then["champion"]:
        assert now["holdout"] == pytest.approx(then["holdout"])
