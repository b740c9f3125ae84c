"""How a registered version was made: all that is needed to judge it again, and to make it again.

The record stands in the metadata of the model's ``MLmodel`` file: the version's digest covers it.
"""

from collections.abc import Mapping
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

KEY = "grovekeeper"

# Tags of a registered version.
STUDY_TAG = "grovekeeper.study"
UID_TAG = "grovekeeper.study_uid"
TRIAL_TAG = "grovekeeper.trial"
TREES_TAG = "grovekeeper.trees"
DIGEST_TAG = "grovekeeper.data_digest"
TARGET_TAG = "grovekeeper.target"
METRIC_TAG = "grovekeeper.metric"
# Of rows that weigh, or belong together: by which columns.
ROLES_TAG = "grovekeeper.roles"
SHA_TAG = "grovekeeper.model_sha256"
CONTENT_TAG = "grovekeeper.content_sha256"
SHARE_TAG = "grovekeeper.holdout"
HOLDOUT_PREFIX = "grovekeeper.holdout_"
# Of a version that was refitted on every row: the version whose hyperparameters were judged.
REFIT_TAG = "grovekeeper.refit_of"


class Provenance(BaseModel):
    """How a version was made.

    Attributes
    ----------
    params
        Hyperparameters of the trial.
    seed
        The study's.
    content
        `fingerprint` of the fitted pipeline.
    versions
        Of what made it, by name: Python, the machine's kind, this project, its libraries.
    refit_of
        The version that was judged, where this is the same grown on every row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def tags(self, holdout: Mapping[str, float], sha256: str) -> dict[str, str]:
        """All tags of a version; `sha256` is its folder's."""
        data = self.data
        identity = identity_tags(self.study_uid, self.trial, self.trees, data.digest, data.holdout)
        scores = {HOLDOUT_PREFIX + name: repr(value) for name, value in holdout.items()}
        roles = ", ".join(f"{role}={name}" for role, name in data.roles.items())
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
    def of(cls, champion: Champion, problem: Problem, study_uid: str, trial: int) -> Self:
        """Describe a champion that was just made."""
        spec = problem.spec
        return cls(
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
        )

    def refit(self, dataset: Dataset) -> Champion:
        """Grow the same forest on a dataset's training rows, on all cores."""
        metric = METRICS[self.metric]
        return make_champion(dataset, metric, self.params, self.trees, self.seed, cores())

    @classmethod
    def read(cls, metadata: Any, model: str) -> Self:
        """Read the record from a model's metadata.

        Raises
        ------
        StudyError
            When there is none, or it is another version's of this project.
        """
        found = metadata.get(KEY) if isinstance(metadata, dict) else None
        if found is None:
            raise StudyError(f"{model} does not say how it was made: it is not of grovekeeper")
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            text = f"what {model} says of how it was made cannot be read ({where}: {first['msg']})"
            raise StudyError(text) from None


def identity_tags(
    study_uid: str, trial: int, trees: int, data_digest: str, holdout: float
) -> dict[str, str]:
    """Tags that no version of another champion has."""
    return {
        UID_TAG: study_uid,
        TRIAL_TAG: str(trial),
        TREES_TAG: str(trees),
        DIGEST_TAG: data_digest,
        SHARE_TAG: repr(holdout),
    }
