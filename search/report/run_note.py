"""Makes the record and the Markdown note that a study's MLflow run shows."""

from search.formatting import code, of_trial, params_listed, scores_listed
from search.study.notes import InitializedNotes
from search.study.ranking import score_name, score_now
from storage.records import DataRecord, StudyRecord, StudyState
from storage.studies.statistics import TrialStatistics
from storage.studies.study import Study

# Hyperparameters that differ most between good and bad trials.
_CHARTED = ("max_features", "min_samples_leaf", "max_samples")


def study_record(
    study: Study, notes: InitializedNotes, statistics: TrialStatistics, state: StudyState
) -> StudyRecord:
    """Return the record of a study that this project set up, without reading its database.

    It is made whenever a trial has ended, also while the database restarts.
    """
    spec, description = notes.spec, notes.spec.description
    params = spec.model_dump()
    space = {f"space.{name}": text for name, text in params.pop("space").items()}
    return StudyRecord(
        name=study.name,
        uid=notes.uid,
        metric=spec.metric,
        guide=notes.guide or spec.metric,
        state=state,
        params={name: str(value) for name, value in params.items()} | space,
        data=DataRecord(
            name=study.name,
            source=description.source,
            digest=description.digest,
            target=description.target,
            rows=notes.rows,
            columns=notes.columns,
        ),
        started=notes.started,
        direction=study.direction,
        hyperparameters=tuple(spec.space),
        charted=_CHARTED,
        steps_param="n_estimators",
        counts=dict(statistics.counts),
        best=tuple(statistics.best),
        throughput=tuple(statistics.throughput),
        throughput_metric="trees_per_second",
        holdout=notes.holdout or {},
        note=describe(notes, statistics, state),
    )


def describe(notes: InitializedNotes, statistics: TrialStatistics, state: StudyState) -> str:
    """Return the note in Markdown."""
    spec, data, counts = notes.spec, notes.spec.description, statistics.counts
    shown = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none yet"
    lines = [f"**{state}**: {statistics.finished} of {notes.goal} trials finished ({shown})"]
    best = statistics.candidate
    score = None if best is None else score_now(best)
    if best is not None and score is not None:
        scored = f"{score_name(best, spec.metric, notes.guide)} {score:.5g}"
        lines.append(
            f"**Best**: trial {best.number}, {scored} ({code(params_listed(best.params))})"
        )
    if notes.importance:
        mattered = ", ".join(f"{code(k)} ({v:.0%})" for k, v in notes.importance.items())
        lines.append(f"**Important hyperparameters**: {mattered}")
    champion = None if notes.champion is None else notes.champion.trial
    trial = of_trial(champion, None if best is None else best.number)
    if notes.holdout:
        lines.append(f"**Hold-out**: {scores_listed(notes.holdout)}{trial}")
    if notes.model:
        model = notes.model
        lines.append(f"**Model**: {code(model.name)} version {model.version}{trial}")
    table = f"{notes.rows} rows, {notes.columns} columns"
    lines.append(f"**Data**: {code(data.source)}, target {code(data.target)}, {table}")
    return "\n".join(f"- {line}" for line in lines)
