"""The record of a registered version: everything needed to evaluate it and to train it again.

The record is stored in the metadata of the model's ``MLmodel`` file, so the version's digest
covers it. Only this module reads and writes it, and names the tags of a version.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from search.data.dataset import Dataset
from search.data.description import ResolvedDescription
from search.environment import cores, installed
from search.errors import StudyError
from search.forest.metrics import METRICS
from search.model.champion import Champion, make_champion
from search.model.fingerprint import fingerprint
from search.study.problem import Problem
from storage.tracking.study_run import STUDY_TAG, UID_TAG

# Metadata key of the record.
_KEY = "grovekeeper"
_FORMAT_VERSION = 2

# Tags of a registered version.
TRIAL_TAG = "grovekeeper.trial"
TREES_TAG = "grovekeeper.trees"
DIGEST_TAG = "grovekeeper.data_digest"
TARGET_TAG = "grovekeeper.target"
METRIC_TAG = "grovekeeper.metric"
# All columns with a role.
ROLES_TAG = "grovekeeper.roles"
# MLflow refuses longer values of tags than 100,000 characters.
_ROLES_LENGTH = 5_000
SHA_TAG = "grovekeeper.model_sha256"
CONTENT_TAG = "grovekeeper.content_sha256"
SHARE_TAG = "grovekeeper.holdout"
HOLDOUT_PREFIX = "grovekeeper.holdout_"
# Only on a version that was refitted on every row: the version that was evaluated for it.
REFIT_TAG = "grovekeeper.refit_of"


class Provenance(BaseModel):
    """The record of how a version was made.

    Unknown fields, which a later version of this project may have written, are kept.

    Attributes
    ----------
    format_version
        A later version of this project increases it when this one could no longer judge the model
        or train it again without knowing a new field. Records without it have format 1.
    study_uid
        Identifies the study, also among studies with the same name in several databases.
    trial
        Number of the trial.
    params
        Hyperparameters of the trial.
    trees
        Number of trees.
    seed
        Seed of the study.
    metric
        Name of the metric that the study optimised.
    data
        The table, and how its rows were divided.
    content
        `fingerprint` of the fitted pipeline.
    versions
        Versions of Python, this project and its libraries by name, and the machine type.
    refit_of
        For a version that was refitted on every row, the version that was evaluated for it.
    vectorized
        Whether measured numbers pass through the pipeline's `TableVectorizer`, as in all records of
        format 1.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format_version: int = 1
    study: str
    study_uid: str
    trial: int
    params: dict[str, Any]
    trees: int
    seed: int
    metric: str
    data: ResolvedDescription
    content: str
    versions: dict[str, str]
    refit_of: int | None = None
    vectorized: bool = True

    def tags(self, holdout: Mapping[str, float], sha256: str) -> dict[str, str]:
        """Return all tags of a version.

        Parameters
        ----------
        holdout
            Scores on the held-out rows by metric.
        sha256
            Digest of the model's folder.
        """
        data = self.data
        identity = identity_tags(self.study_uid, self.trial, self.trees, data.digest, data.holdout)
        scores = {HOLDOUT_PREFIX + name: repr(value) for name, value in holdout.items()}
        roles = ", ".join(f"{role}={name}" for role, name in data.assignments)[:_ROLES_LENGTH]
        link = {} if self.refit_of is None else {REFIT_TAG: str(self.refit_of)}
        about = {
            STUDY_TAG: self.study,
            TARGET_TAG: data.target,
            METRIC_TAG: self.metric,
            SHA_TAG: sha256,
            CONTENT_TAG: self.content,
        }
        return identity | about | scores | link | ({ROLES_TAG: roles} if roles else {})

    @classmethod
    def from_champion(
        cls, champion: Champion, problem: Problem, study_uid: str, trial: int
    ) -> Self:
        """Record how a champion was just made."""
        spec = problem.spec
        return cls(
            format_version=_FORMAT_VERSION,
            study=spec.study,
            study_uid=study_uid,
            trial=trial,
            params=dict(champion.params),
            trees=champion.trees,
            seed=spec.seed,
            metric=problem.metric.name,
            data=problem.dataset.description,
            content=fingerprint(champion.pipeline),
            versions=installed(),
            vectorized=problem.dataset.vectorizes_numbers,
        )

    def refit(self, dataset: Dataset) -> Champion:
        """Train the same forest on a dataset's training rows, on all cores."""
        metric = METRICS[self.metric].with_positive(dataset.positive)
        dataset = replace(dataset, vectorizes_numbers=self.vectorized)
        return make_champion(dataset, metric, self.params, self.trees, self.seed, cores())

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the model's ``MLmodel`` file."""
        return {_KEY: self.model_dump(mode="json")}

    @classmethod
    def read(cls, metadata: Any, model: str) -> Self:
        """Read the record from the metadata of a model's ``MLmodel`` file.

        Raises
        ------
        StudyError
            If the record is missing or damaged, or was written by a later version of this project
            in a newer format.
        """
        found = metadata.get(_KEY) if isinstance(metadata, dict) else None
        if found is None:
            raise StudyError(
                f"{model} has no record of how it was made: it was not registered by grovekeeper"
            )
        try:
            record = cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise StudyError(
                f"cannot read the record of how {model} was made ({where}: {first['msg']})"
            ) from None
        if record.format_version > _FORMAT_VERSION:
            raise StudyError(
                f"the record of how {model} was made has format {record.format_version}, and this "
                f"version of grovekeeper reads up to format {_FORMAT_VERSION}: upgrade grovekeeper"
            )
        return record


def identity_tags(
    study_uid: str, trial: int, trees: int, data_digest: str, holdout: float
) -> dict[str, str]:
    """Return the tags that together identify a champion's version."""
    return {
        UID_TAG: study_uid,
        TRIAL_TAG: str(trial),
        TREES_TAG: str(trees),
        DIGEST_TAG: data_digest,
        SHARE_TAG: repr(holdout),
    }
