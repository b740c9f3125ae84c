from search.data.description import ResolvedDescription
from search.model.model_card import describe
from search.model.provenance import Provenance
from storage.records import Judgement, Move

DATA = ResolvedDescription(
    source="houses.csv",
    digest="d" * 64,
    target="price",
    task="regression",
    holdout=0.2,
    time="sold",
)
MADE = Provenance(
    study="houses",
    study_uid="u",
    trial=7,
    params={"max_features": 1 / 3, "splitter": "best"},
    trees=138,
    seed=0,
    metric="rmse",
    data=DATA,
    content="c",
    versions={"python": "3.11", "skrub": "0.11"},
)
MOVE = Move(
    "000001-0",
    "2026-11-26T00:00:00+00:00",
    "refuse",
    1,
    "None",
    "Staging",
    None,
    "ann",
    judgement=Judgement("shown to be worse"),
)


def test_the_card_shows_data_search_scores_and_how_to_reproduce() -> None:
    text = describe(MADE, {"rmse": 64.44218}, "houses")
    for said in (
        "Trial 7 of study **houses**, refitted with 138 trees",
        "`houses.csv`, target `price` (regression); time: `sold`; 20% of the rows held out",
        "by rmse, seed 0",
        "max_features 0.3333, splitter best",
        "rmse 64.442",
        "not judged yet",
        "champion/trial-0007",
        "python 3.11, skrub 0.11",
        "grovekeeper reproduce houses",
    ):
        assert said in text


def test_the_card_shows_the_last_move() -> None:
    text = describe(MADE, {}, "houses", MOVE)
    assert "refused for Staging on 2026-11-26 by `ann`: shown to be worse" in text
    refitted = MADE.model_copy(
        update={"refit_of": 3, "data": DATA.model_copy(update={"holdout": 0.0})}
    )
    text = describe(refitted, {}, "houses")
    assert "trained on every row" in text
    assert "version 3 was judged for it" in text
    assert "Pictures" not in text


def test_the_card_has_at_most_the_length_that_mlflow_stores() -> None:
    many = {f"{'m' * 200}{n}": 0.5 for n in range(100)}
    assert len(describe(MADE, many, "houses")) == 5000
