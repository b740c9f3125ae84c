"""The exported code is run unchanged and makes the champion, tree by tree."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from settled import settle
from shop import GOOD, table

from search.errors import StudyError
from search.model.champion import make_champion, predict
from search.model.export import as_python
from search.study.notes import ChampionNote, Request, StudyNotes
from search.study.problem import create_study, initialize_study, load_problem
from search.study.spec import StudySpec, make_spec
from storage.records import TrialRecord
from storage.studies.study import StudyBook


def houses(kind: str) -> pd.DataFrame:
    made = table(300)
    if kind == "classes":
        made["price"] = np.where(made["price"] > 0, "dear", "cheap")
    if kind == "text":
        made["street"] = made["street"].map("street {}".format)
        made.loc[::7, "street"] = None
    return made


@pytest.mark.parametrize("kind", ["numbers", "classes", "text"])
@pytest.mark.parametrize("splitter", ["best", "random"])
def test_the_exported_code_makes_the_champion(tmp_path: Path, kind: str, splitter: str) -> None:
    params: dict[str, Any] = GOOD | {"splitter": splitter, "max_samples": 0.7}
    if kind == "text":
        params["encoding"] = "ordinal" if splitter == "best" else "ordinal+target"
    problem = load_problem(StudySpec(data=houses(kind), target="price", trees=20, seed=3))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    study.write(StudyNotes(asked=Request(trees=20, model="houses")))
    study.enter_trial(
        TrialRecord(0, "COMPLETE", params, value=1.0, enough_steps=300), problem.space
    )
    dataset = problem.dataset
    champion = make_champion(dataset, problem.metric, params, 20, 3, jobs=1)

    (tmp_path / "best.py").write_text(as_python(study))
    names = runpy.run_path(str(tmp_path / "best.py"))
    model = names.get("model", names["forest"])
    assert ("model" in names) == (kind == "text")
    # Trees convert their input to float32 in any case.
    rows = dataset.features if kind == "text" else dataset.features.astype("float32")
    model.fit(rows, dataset.labels)

    expected = predict(champion.pipeline, dataset.held_out_features, dataset.task)
    new = dataset.held_out_features
    found = predict(model, new if kind == "text" else new.astype("float32"), dataset.task)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


def test_comments_explain_how_to_fit_weighted_and_grouped_rows(tmp_path: Path) -> None:
    frame = houses("numbers").assign(share=1.5, owner=np.arange(300) // 3)
    asked = {"target": "price", "weight": "share", "group": "owner", "trees": 20}
    problem = load_problem(make_spec({"data": frame, **asked}))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    study.enter_trial(TrialRecord(0, "COMPLETE", GOOD, value=1.0), problem.space)
    code = as_python(study)
    assert "# Column 'share' holds weights w: fit with sample_weight=w / w.mean()\n" in code
    assert "# Column 'owner' groups rows: it is not a feature\n" in code
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


@pytest.mark.parametrize("kind", ["repeated rows", "groups", "periods of time"])
def test_a_comment_names_the_rows_that_were_kept_together(tmp_path: Path, kind: str) -> None:
    frame, asked = houses("text"), {"target": "price", "trees": 20}
    if kind == "repeated rows":
        frame = pd.concat([frame, frame[:50]], ignore_index=True)
    else:
        asked |= {"group": "owner"} if kind == "groups" else {"time": "owner"}
        frame = frame.assign(owner=np.arange(300) // 3)
    problem = load_problem(make_spec({"data": frame, **asked}))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    params = GOOD | {"encoding": "target"}
    study.enter_trial(TrialRecord(0, "COMPLETE", params, value=1.0), problem.space)
    comment = f"# The target encoding was cross-fitted by {kind}: here it uses random folds\n"
    assert comment in as_python(study)
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


def test_a_comment_names_the_columns_whose_values_were_merged(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(size=30_000), "rooms": np.arange(30_000) % 7})
    frame["price"] = frame["size"] + random.normal(size=30_000)
    problem = load_problem(make_spec({"data": frame, "target": "price", "holdout": 0}))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    study.enter_trial(TrialRecord(0, "COMPLETE", GOOD, value=1.0), problem.space)
    assert "# Close values of ['size'] were merged to grow the trees faster" in as_python(study)
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


def test_the_code_has_the_trees_that_fitted_into_the_time_limit(tmp_path: Path) -> None:
    problem = load_problem(make_spec({"data": houses("numbers"), "target": "price"}))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    study.enter_trial(TrialRecord(0, "COMPLETE", GOOD, value=1.0, enough_steps=300), problem.space)
    assert "n_estimators=300," in as_python(study)
    study.write(StudyNotes(champion=ChampionNote(name="houses", trial=0, trees=25)))
    assert "n_estimators=25," in as_python(study)
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_the_code_names_the_dropped_columns(tmp_path: Path, kind: str) -> None:
    frame = houses(kind).assign(**{'it\'s "id"\n': np.arange(300), "owner": "none"})
    drop = ["owner", 'it\'s "id"\n']
    problem = load_problem(make_spec({"data": frame, "target": "price", "drop": drop, "trees": 20}))
    study = create_study(problem, f"sqlite:///{tmp_path}/optuna.db")
    initialize_study(problem, study)
    study.enter_trial(TrialRecord(0, "COMPLETE", GOOD, value=1.0), problem.space)
    code = as_python(study)
    (tmp_path / "best.py").write_text(code)
    names = runpy.run_path(str(tmp_path / "best.py"))
    # The comment holds an expression that can be copied.
    (line,) = (line for line in code.splitlines() if "rows.drop(" in line)
    rows = eval(line[line.index("rows.drop(") :], {"rows": frame})  # noqa: S307 own code
    assert list(rows) == ["size", "age", "street", "price"]
    names.get("model", names["forest"]).fit(rows.drop(columns="price"), rows["price"])
    study.book.rdb.remove_session()
    study.book.rdb.engine.dispose()


def test_studies_without_a_complete_trial_or_of_another_program_are_refused(tmp_path: Path) -> None:
    book = StudyBook(f"sqlite:///{tmp_path}/optuna.db", create=True)
    theirs = book.make("theirs", "minimize")
    with pytest.raises(StudyError, match="was not made by grovekeeper"):
        as_python(theirs)
    settle(theirs)
    with pytest.raises(StudyError, match="has a score yet"):
        as_python(theirs)
    book.rdb.remove_session()
    book.rdb.engine.dispose()
