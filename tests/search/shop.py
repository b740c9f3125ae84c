"""Registers versions for tests within seconds: small forests on a small table."""

import shutil
import warnings
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow_stores import copy_store
from shared import made_once

from search.model.champion import make_champion
from search.model.provenance import Provenance
from search.model.registration import register
from search.monitoring.messages import messages_to
from search.promotion.evaluation import Criteria
from search.promotion.promote import PromotionRequest, promote, rollback
from search.study.problem import load_problem
from search.study.spec import make_spec
from storage.records import ModelVersion, Move, Stage
from storage.registry.client import Registry, open_registry

GOOD = {"max_features": 0.7, "min_samples_leaf": 2}
WEAK = {"max_features": 0.7, "min_samples_leaf": 60}
# Numbers that are not short decimals.
ODD = {"max_features": 0.4 + 0.3 + 1e-9, "min_samples_leaf": 2, "max_samples": 1e-5 + 0.9}


def table(rows: int = 400, *, signal: float = 3.0, seed: int = 0) -> pd.DataFrame:
    """Make houses whose price depends on two columns; a longer table begins with the same rows."""
    random = np.random.default_rng(seed)
    made = [
        (random.normal(), random.normal(), int(random.integers(5)), random.normal())
        for _ in range(rows)
    ]
    houses = pd.DataFrame(made, columns=["size", "age", "street", "luck"])
    houses["price"] = signal * (houses["size"] + np.sin(2 * houses["age"])) + houses.pop("luck")
    return houses


@dataclass
class Shop:
    """A registry and the name of a model in it."""

    tracking_uri: str
    folder: Path
    messages: list[str] = field(default_factory=list)
    made: int = 0
    name: str = "houses"

    @property
    def registry(self) -> Registry:
        return open_registry(self.tracking_uri)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    def copy_to(self, folder: Path) -> "Shop":
        """Return a copy in another folder, with files of its own."""
        shutil.copy(self.folder / "houses.csv", folder)
        return Shop(copy_store(self.folder, folder), folder, made=self.made)

    def write(self, houses: pd.DataFrame, name: str = "houses.csv") -> str:
        houses.to_csv(self.folder / name, index=False)
        return str(self.folder / name)

    def add(self, params: Any = GOOD, trees: int = 8, **options: Any) -> ModelVersion:
        """Register a champion with these hyperparameters as the next version.

        It has few trees, because the time to save and to load a forest grows with their number.
        The default table is houses.csv in the working directory.
        """
        if "data" not in options and not (self.folder / "houses.csv").exists():
            self.write(table())
        asked = {"data": "houses.csv", "target": "price", "model": self.name}
        problem = load_problem(make_spec(asked | options))
        champion = make_champion(
            problem.dataset, problem.metric, params, trees, problem.spec.seed, jobs=2
        )
        run = self.client.create_run("0")
        self.made += 1
        provenance = Provenance.from_champion(
            champion, problem, f"uid-{self.made}", trial=self.made
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return register(
                self.registry,
                ("0", run.info.run_id),
                self.name,
                champion,
                problem.dataset,
                provenance,
            )

    def promote(
        self, version: int | None = None, registry: Registry | None = None, **options: Any
    ) -> Move | None:
        names = ("tolerance", "strict", "required")
        criteria = Criteria(**{name: options.pop(name) for name in names if name in options})
        request = PromotionRequest(version=version, criteria=criteria, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with messages_to(lambda record: self.messages.append(record.getMessage())):
                return promote(registry or self.registry, self.name, request)[1]

    def rollback(self, stage: Stage = "Staging", reason: str | None = None) -> Move:
        return rollback(self.registry, self.name, stage, reason)

    def holder(self, stage: str = "Staging") -> int | None:
        """Return the version that both the stage and the alias name."""
        versions = self.registry.versions(self.name)
        held = [v.version for v in versions if v.stage == stage]
        assert held == [v.version for v in versions if stage.lower() in v.aliases]
        assert len(held) <= 1
        return held[0] if held else None


def three_versions(empty_mlflow: Path) -> Shop:
    """Return a registry with three versions, the second of which is worse, to copy.

    Its folder is shared by all tests; `empty_mlflow` is the folder of an empty store.
    """

    def make(folder: Path) -> None:
        shop = Shop(copy_store(empty_mlflow, folder), folder)
        with chdir(folder):
            shop.add(ODD)
            shop.add(WEAK)
            shop.add(GOOD, trees=9)

    folder = made_once("shop", make)
    return Shop(f"sqlite:///{folder}/mlflow.db", folder, made=3)
