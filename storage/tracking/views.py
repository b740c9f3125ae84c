"""A study's view in MLflow's UI: its trials as a table, the best first, and as charts.

By default, MLflow collapses nested runs and shows no metric. A shared view of its UI is stored as a
tag of the experiment that holds the state of the page as compressed JSON. The format is internal to
the UI of MLflow 3.17, and only this module depends on it.
"""

import base64
import json
import time
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from storage.records import StudyRecord
from storage.tracking.runs import key_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_TAG = "mlflow.sharedViewState."
_KNOWN_MAJOR = "3"
_NAME_COLUMN = "attributes.`Run Name`"
_WIDTH, _NARROW = 170, 135
_SECTION = "trials"


def save(
    client: "MlflowClient", experiment_id: str, study: StudyRecord, condition: str, state_tag: str
) -> bool:
    """Store a study's view in its experiment. An existing view, which users may edit, is kept.

    Parameters
    ----------
    condition
        The search that finds the trials' runs.
    state_tag
        Tag of a trial's run that holds the state of the trial.

    Returns
    -------
    whether the format of the installed MLflow is known; if it is not, nothing is written

    Raises
    ------
    MlflowException
        If MLflow cannot be reached.
    """
    import mlflow

    if mlflow.__version__.partition(".")[0] != _KNOWN_MAJOR:
        return False
    key = _TAG + _key(study.uid)
    if key in client.get_experiment(experiment_id).tags:
        return True
    state = json.dumps(_state(study, condition, state_tag), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    now = int(time.time() * 1000)
    view = {"name": study.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    client.set_experiment_tag(experiment_id, key, json.dumps(view))
    return True


def delete(client: "MlflowClient", experiment_id: str, uid: str) -> None:
    """Delete a study's view if it exists."""
    key = _TAG + _key(uid)
    if key in client.get_experiment(experiment_id).tags:
        client.delete_experiment_tag(experiment_id, key)


def has_studies(experiment: "Experiment") -> bool:
    """Return whether an experiment holds views of studies."""
    return any(name.startswith(_TAG + _key("")) for name in experiment.tags)


def _key(uid: str) -> str:
    return f"grovekeeper-{uid}"


def page(server: str, experiment_id: str, uid: str, *, charts: bool = False) -> str:
    """Return the URL of a study's view, as a table or as charts."""
    query = {"workflowType": "machine_learning", "viewStateShareKey": _key(uid)}
    if charts:
        query["compareRunsMode"] = "CHART"
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def links(experiment_id: str, uid: str) -> str:
    """Return Markdown links to a study's view, for use within the UI."""
    table, charts = (page("", experiment_id, uid, charts=charts) for charts in (False, True))
    return f"Its trials: [as a table]({table.lstrip('/')}), [as charts]({charts.lstrip('/')})"


def artifact(experiment_id: str, run_id: str, path: str) -> str:
    """Return a Markdown link to a run's artifact, for use within the UI."""
    name = path.rpartition("/")[2].partition(".")[0]
    return f"[{name}](#/experiments/{experiment_id}/runs/{run_id}/artifacts/{path})"


def _state(study: StudyRecord, condition: str, state_tag: str) -> dict[str, Any]:
    metric = f"metrics.`{key_of(study.metric)}`"
    steps = () if study.steps_param is None else (study.steps_param,)
    params = [f"params.`{key_of(name)}`" for name in (*steps, *study.hyperparameters)]
    columns = [_NAME_COLUMN, metric, f"tags.`{state_tag}`", *params]
    return {
        "searchFilter": condition,
        "orderByKey": metric,
        "orderByAsc": study.direction == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        # The UI applies a width only to columns that are listed in `columnOrder`.
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _NARROW) | {_NAME_COLUMN: _WIDTH},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(study),
        "compareRunSections": [
            _section(_SECTION, "Trials"),
            _section("model", "Model metrics"),
            _section("system", "System metrics"),
        ],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }


def _charts(study: StudyRecord) -> list[dict[str, Any]]:
    charted = [name for name in study.charted if name in study.hyperparameters]
    return [
        _chart(
            "LINE",
            metricKey=study.guide,
            selectedMetricKeys=[study.guide],
            xAxisKey="step",
            xAxisScaleType="linear",
            scaleType="linear",
            lineSmoothness=0,
            selectedXAxisMetricKey="",
        ),
        _chart(
            "PARALLEL",
            selectedParams=[key_of(name) for name in study.hyperparameters],
            selectedMetrics=[key_of(study.metric)],
            showAllRuns=True,
        ),
        *(
            _chart(
                "SCATTER",
                name,
                xaxis={"key": name, "type": "PARAM"},
                yaxis={"key": key_of(study.metric), "type": "METRIC"},
            )
            for name in charted
        ),
    ]


def _chart(kind: str, name: str = "", **settings: Any) -> dict[str, Any]:
    return {
        "uuid": f"{kind}{name}",
        "type": kind,
        "runsCountToCompare": 100,
        "metricSectionId": _SECTION,
        "deleted": False,
        "isGenerated": False,
        **settings,
    }


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": uuid != _SECTION,
    }
