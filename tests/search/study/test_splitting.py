"""Trials are scored so that the score estimates the error on new rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made import grown, resampled
from numpy.typing import NDArray

from search.data.dataset import Dataset, load_dataset
from search.errors import DataError, UsageError
from search.forest.fitting import make_forest
from search.forest.metrics import METRICS
from search.forest.oob import coverage, score
from search.forest.resampling import Resampling
from search.forest.training_set import TrainingSet
from search.study.problem import Problem, load_problem
from search.study.spec import StudySpec, make_spec
from search.study.splitting import choose_resampling

Array = NDArray[Any]
Choose = Callable[..., tuple[Dataset, Resampling, tuple[str, ...]]]
Write = Callable[[pd.DataFrame], str]
FOREST: dict[str, Any] = {"max_features": 0.7, "min_samples_leaf": 2, "max_depth": None}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table and return its path."""

    def write(table: pd.DataFrame) -> str:
        path = tmp_path / "t.parquet"
        table.to_parquet(path)
        return str(path)

    return write


@pytest.fixture
def choose(write: Write) -> Choose:
    """Choose for a table whose target is `y`, all rows training rows."""

    def choose(table: pd.DataFrame, **options: Any) -> tuple[Dataset, Resampling, tuple[str, ...]]:
        spec: StudySpec = make_spec({"data": write(table), "target": "y", **options})
        description = spec.description.model_copy(update={"holdout": 0.0})
        dataset = load_dataset(description)
        return dataset, *choose_resampling(spec, dataset)

    return choose


def table(n_rows: int = 120, classes: int = 0, **columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    y = np.arange(n_rows) % classes if classes else random.normal(size=n_rows)
    made = {"a": random.normal(size=n_rows), "b": random.normal(size=n_rows)}
    return pd.DataFrame(made | columns | {"y": y})


def assert_divided(resampling: Resampling, n_rows: int, n_folds: int) -> None:
    """Check that each row is tested in one fold and trained on in the others."""
    assert len(resampling.folds) == n_folds
    tested = np.concatenate([test for _, test in resampling.folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(n_rows))
    for train, test in resampling.folds:
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(n_rows))


def test_independent_rows_are_scored_out_of_bag(choose: Choose) -> None:
    _, resampling, notes = choose(table())
    assert (resampling, notes) == (Resampling(), ())


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_are_used_if_requested(choose: Choose, n_folds: int) -> None:
    _, resampling, notes = choose(table(), evaluation="cv", folds=n_folds)
    assert_divided(resampling, 120, n_folds)
    assert notes == ()
    sizes = [len(test) for _, test in resampling.folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_the_seed(choose: Choose) -> None:
    first, same, other = (
        choose(table(), evaluation="cv", seed=seed)[1].folds[0][1] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_folds_are_stratified_by_class(choose: Choose) -> None:
    dataset, resampling, _ = choose(table(classes=3), evaluation="cv")
    for _, test in resampling.folds:
        assert np.bincount(dataset.y[test]).tolist() == [8, 8, 8]


@pytest.mark.parametrize("classes", [0, 2])
def test_group_folds_never_split_a_group(choose: Choose, classes: int) -> None:
    random = np.random.default_rng(1)
    group = np.r_[np.arange(12), random.integers(0, 12, 108)]
    dataset, resampling, notes = choose(table(classes=classes, who=group), group="who")
    assert_divided(resampling, 120, 5)
    assert notes == ("scored by 5 folds of whole groups",)
    for train, test in resampling.folds:
        assert not set(group[train]) & set(group[test])
        if classes:
            assert set(dataset.y[test]) == set(range(classes))
    assert resampling.units is not None
    assert len({*zip(resampling.units, group, strict=True)}) == 12


def test_test_rows_are_later_than_training_rows_and_equal_times_are_together(
    choose: Choose,
) -> None:
    random = np.random.default_rng(1)
    day = random.permutation(np.r_[np.arange(30), random.integers(0, 30, 90)])
    stamps = pd.Timestamp("2024-01-01") + pd.to_timedelta(day, unit="D")
    _, resampling, notes = choose(table(day=stamps), time="day", folds=4)
    assert notes == ("scored by 4 folds, each later than the rows its trees grow on",)
    assert len(resampling.folds) == 4
    tested: list[int] = []
    for train, test in resampling.folds:
        assert day[train].max() < day[test].min()
        for moment in np.unique(day[test]):
            assert np.isin(np.flatnonzero(day == moment), test).all()
        for moment in np.unique(day[train]):
            assert np.isin(np.flatnonzero(day == moment), train).all()
        tested += test.tolist()
    assert len(tested) == len(set(tested))
    assert sorted(day[tested]) == [d for d in sorted(day) if d >= day[tested].min()]


def test_repeated_rows_are_found_reported_and_kept_together(choose: Choose) -> None:
    once = table(100)
    repeated = pd.concat([once, once[:20].assign(y=9.0)], ignore_index=True)
    _, resampling, notes = choose(repeated)
    assert notes == ("20 of 120 training rows repeat another: they are kept on one side",)
    assert resampling.units is not None
    assert resampling.folds == ()
    np.testing.assert_array_equal(resampling.units[:20], resampling.units[100:])
    assert len(np.unique(resampling.units)) == 100
    _, resampling, _ = choose(repeated, evaluation="cv")
    assert_divided(resampling, 120, 5)
    for _, test in resampling.folds:
        assert {row + 100 for row in test if row < 20} == {row for row in test if row >= 100}


def test_rows_of_a_table_with_few_distinct_rows_are_drawn_independently(choose: Choose) -> None:
    few = table().assign(a=np.arange(120) % 3, b=0.0)
    _, resampling, notes = choose(few)
    assert notes == ("only 3 of 120 training rows are distinct: all are drawn independently",)
    assert resampling == Resampling()


@pytest.mark.parametrize("role", ["group", "time"])
def test_out_of_bag_votes_are_refused_if_they_would_be_misleading(
    choose: Choose, role: str
) -> None:
    with pytest.raises(UsageError, match=f"a tree would see rows of the same {role}"):
        choose(table(it=np.arange(120) // 4), evaluation="oob", **{role: "it"})


def test_group_and_time_together_are_refused(choose: Choose) -> None:
    both = table(who=np.arange(120) // 4, day=np.arange(120))
    with pytest.raises(UsageError, match="--group and --time together"):
        choose(both, group="who", time="day")


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"it": np.arange(120) % 4}, {"group": "it"}, "4 groups are too few for 5 folds"),
        ({"it": np.arange(120) % 5}, {"time": "it"}, "4 later times are too few for 5 folds"),
        ({}, {"evaluation": "cv", "folds": 50, "rows": 40}, "40 rows are too few for 50 folds"),
    ],
)
def test_too_few_rows_groups_or_times_are_refused(
    choose: Choose, columns: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    n_rows = options.pop("rows", 120)
    with pytest.raises(DataError, match=f"{says}: give fewer with --folds"):
        choose(table(n_rows, **columns), **options)


def test_as_many_groups_or_later_times_as_folds_suffice(choose: Choose) -> None:
    assert len(choose(table(it=np.arange(120) % 5), group="it")[1].folds) == 5
    assert len(choose(table(it=np.arange(120) % 6), time="it")[1].folds) == 5


def test_rows_with_large_weights_are_scored_by_folds(choose: Choose) -> None:
    heavy = table(w=np.r_[np.full(90, 1.0), np.full(30, 20.0)])
    dataset, resampling, notes = choose(heavy, weight="w")
    assert_divided(resampling, 120, 5)
    assert notes == (
        "rows with large weights are in nearly every bag and get too few out-of-bag votes: "
        "scored by 5 folds instead",
    )
    rows = TrainingSet(dataset.X.to_numpy(), dataset.y, 0, resampling, dataset.weights)
    assert coverage(grown(rows, FOREST, 80), rows) == 1.0
    assert coverage(grown(resampled(rows), FOREST, 16), resampled(rows)) < 0.9
    _, resampling, notes = choose(heavy, weight="w", evaluation="oob")
    assert resampling == Resampling()
    assert len(notes) == 1
    assert notes[0].startswith("--evaluation oob, but rows with large weights")
    assert choose(heavy, weight="w", evaluation="cv")[2] == ()


def test_a_fold_whose_training_rows_all_have_weight_0_is_refused(choose: Choose) -> None:
    old = table(w=np.r_[np.zeros(40), np.ones(80)], t=np.arange(120))
    with pytest.raises(
        DataError, match="all training rows of a fold have weight 0: remove rows of weight 0"
    ):
        choose(old, weight="w", time="t")


def test_light_weights_are_scored_out_of_bag(choose: Choose) -> None:
    light = table(w=np.tile([0.5, 1.0, 1.5], 40))
    assert choose(light, weight="w")[1:] == (Resampling(), ())


def score_of(problem: Problem, rows: TrainingSet | None = None) -> float:
    rows = rows or problem.training_set
    return score(grown(rows, FOREST, rows.resampling.rungs[0]), rows, METRICS["rmse"])


def rmse(y: Array, p: Array) -> float:
    return float(np.sqrt(np.mean((y - p) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_estimate_the_error_on_new_groups_and_out_of_bag_votes_do_not(
    write: Write, seed: int
) -> None:
    """Features identify a patient, and do not predict the effect of a new patient."""
    random = np.random.default_rng(seed)

    def patients(n: int) -> pd.DataFrame:
        who = np.repeat(np.arange(n), 6)
        traits, level = random.normal(size=(n, 3)), random.normal(0, 3, n)
        visits = pd.DataFrame(traits[who] + random.normal(0, 0.02, (6 * n, 3)), columns=[*"abc"])
        dose = random.uniform(0, 1, 6 * n)
        y = 2 * dose + traits[who, 0] + level[who] + random.normal(0, 0.5, 6 * n)
        return visits.assign(dose=dose, who=who, y=y)

    known, new = patients(80), patients(400)
    spec = make_spec({"data": write(known), "target": "y", "group": "who", "holdout": 0})
    problem = load_problem(spec)
    forest = make_forest(FOREST, 0, 200, 0).fit(problem.dataset.X, problem.dataset.y)
    truth = rmse(new["y"].to_numpy(), forest.predict(new[["a", "b", "c", "dose"]]))
    out_of_bag = score_of(problem, resampled(problem.training_set))
    assert out_of_bag < 0.5 * truth
    assert score_of(problem) == pytest.approx(truth, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trend", pytest.param("walk", marks=pytest.mark.slow)])
def test_folds_estimate_the_error_on_later_times_and_out_of_bag_votes_do_not(
    write: Write, kind: str
) -> None:
    """A forest knows the days around a past day, and only earlier days for a future one."""
    random = np.random.default_rng(0)
    n_days, later = 300, 50  # a fold is as long
    steps = random.normal(0, 1, (40, n_days + later))
    level = np.cumsum(steps, axis=1) if kind == "walk" else steps
    series = level + 0.3 * np.arange(n_days + later)
    day = np.arange(n_days + later)
    X = np.stack([day, day % 7], axis=1).astype(np.float32)
    out_of_bag, folds, truth = [], [], []
    for y in series:
        forest = make_forest(FOREST, 0, 20, 0).fit(X[:n_days], y[:n_days])
        truth.append(rmse(y[n_days:], forest.predict(X[n_days:])))
    for y in series[:10]:
        days = pd.DataFrame({"day": day, "week": day % 7, "y": y})[:n_days]
        spec = {"data": write(days), "target": "y", "time": "day", "holdout": 0}
        problem = load_problem(make_spec(spec))
        folds.append(score_of(problem))
        out_of_bag.append(score_of(problem, resampled(problem.training_set)))
    expected = float(np.sqrt(np.mean(np.square(truth))))
    assert np.max(out_of_bag) < 0.3 * expected
    assert np.sqrt(np.mean(np.square(folds))) == pytest.approx(expected, rel=0.2)


def test_units_estimate_the_error_despite_repeated_rows_and_plain_votes_do_not(
    write: Write,
) -> None:
    """A third of the rows, with their targets, occur twice."""
    random = np.random.default_rng(0)

    def draw(n: int) -> pd.DataFrame:
        X = pd.DataFrame(random.normal(size=(n, 4)), columns=[*"abcd"])
        return X.assign(y=X["a"] + random.normal(0, 1, n))

    once, new = draw(300), draw(2000)
    twice = pd.concat([once, once[:150]], ignore_index=True)
    problem = load_problem(make_spec({"data": write(twice), "target": "y", "holdout": 0}))
    forest = make_forest(FOREST, 0, 200, 0).fit(once[[*"abcd"]], once["y"])
    truth = rmse(new["y"].to_numpy(), forest.predict(new[[*"abcd"]]))
    assert score_of(problem, resampled(problem.training_set)) < 0.85 * truth
    assert score_of(problem) == pytest.approx(truth, rel=0.1)


def test_blocks_are_numbered_without_gaps_if_groups_are_held_out(write: Write) -> None:
    """Some of 30 groups are held out; each block of the others has one or two groups."""
    spec = {"data": write(table(300, who=np.arange(300) // 10)), "target": "y", "group": "who"}
    blocks = load_problem(make_spec(spec)).training_set.blocks
    assert set(np.bincount(blocks)) <= {10, 20}
