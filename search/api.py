"""The Python interface: the function `launch` and the result that it returns."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, cast

from search.errors import StudyError
from search.stores import DEFAULT_STORAGE, DEFAULT_TRACKING_URI, Stores
from search.study.spec import StudySpec

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from storage.studies.study import Study, StudyBook


@dataclass(frozen=True)
class Result:
    """Result of a launch.

    Attributes
    ----------
    summary
        Summary of the study, as `grovekeeper show --json` prints it.
    """

    summary: Mapping[str, Any]
    _book: "StudyBook" = field(repr=False)

    @cached_property
    def _kept(self) -> "Study":
        return self._book.open(self.summary["study"])

    @property
    def study(self) -> "optuna.Study":
        """The Optuna study. That of a detached launch is found only in this result's storage."""
        return self._kept.optuna

    @property
    def best_params(self) -> dict[str, Any]:
        """The best trial's hyperparameters."""
        return dict(self._best["params"])

    @property
    def best_value(self) -> float:
        """The best trial's score in the study's metric."""
        return cast("float", self._best["value"])

    @property
    def _best(self) -> Mapping[str, Any]:
        best = self.summary["best"]
        if best is None:
            raise StudyError(f"study '{self.summary['study']}' has no complete trial yet")
        return cast("Mapping[str, Any]", best)

    @property
    def holdout(self) -> dict[str, float]:
        """The champion's scores on the held-out rows; empty if no rows were held out."""
        return dict(self.summary["holdout"] or {})

    @property
    def model_uri(self) -> str | None:
        """Address from which MLflow loads the champion; ``None`` if it is not registered."""
        model = self.summary["model"]
        return model and f"models:/{model['name']}/{model['version']}"

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per trial: score, state, trees, seconds and hyperparameters."""
        import pandas as pd

        from search.report.trial_table import trial_table

        columns, rows = trial_table(self._kept, self._kept.trials())
        return pd.DataFrame(rows, columns=columns).set_index("trial")

    @cached_property
    def _rows(self) -> list[tuple[str, str]]:
        from search.formatting import of_trial, params_listed, scores_listed

        summary, best = self.summary, self.summary["best"]
        rows = [("study", summary["study"]), ("state", summary["state"])]
        counts = {k: n for k, n in summary["trials"].items() if n and k != "goal"}
        rows.append(("trials", ", ".join(f"{n} {k}" for k, n in counts.items()) or "none"))
        if best:
            scored = f"{summary['metric']} {best['value']:.5g}"
            rows.append(("best", f"{scored}, trial {best['number']}"))
            rows.append(("hyperparameters", params_listed(best["params"])))
        champion = summary["champion"]
        trial = of_trial(champion and champion["trial"], best and best["number"])
        if self.holdout:
            rows.append(("hold-out", scores_listed(self.holdout) + trial))
        if self.model_uri:
            rows.append(("model", self.model_uri + trial))
        return rows

    def __rich__(self) -> Any:
        """Return a table for the terminal."""
        from rich.table import Table
        from rich.text import Text

        from search.formatting import visible

        table = Table.grid(padding=(0, 2))
        for name, value in self._rows:
            table.add_row(Text(name, style="bold"), Text(visible(value)))
        return table

    def _repr_html_(self) -> str:
        body = "".join(
            f'<tr><th style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in self._rows
        )
        return f"<table>{body}</table>"


def launch(
    spec: StudySpec,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    quiet: bool = False,
) -> Result:
    """Start or continue a study and register its champion.

    Parameters
    ----------
    spec
        The data, the search and its budget.
    storage, tracking_uri
        Addresses of Optuna's database and of MLflow's store. Default: the environment variables
        ``OPTUNA_STORAGE`` and ``MLFLOW_TRACKING_URI``, or else SQLite files in this folder.
    quiet
        Whether to show no progress and no messages. Messages are always log records of the loggers
        ``search`` and ``storage``.

    Raises
    ------
    SearchError, StorageError
        If the launch fails. The message says in one line what failed and what to do.
    KeyboardInterrupt
        If the user interrupts the launch. The same launch continues the study.
    """
    from search.monitoring.display import Display
    from storage.addresses import StoreAddress
    from storage.studies.study import StudyBook

    stores = Stores(
        # The result opens its study on first use, when the working directory may be another.
        StoreAddress(storage or os.environ.get("OPTUNA_STORAGE") or DEFAULT_STORAGE).absolute,
        tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI,
    )
    with Display(quiet=quiet) as display:
        if spec.detach:
            from search.service.detached import detach

            summary = detach(spec)
        else:
            from search.monitoring.observer import NeverStops
            from search.service.launch import launch as run

            summary = run(spec, stores, display, NeverStops())
    return Result(summary.model_dump(), StudyBook(stores.storage, scheduler=spec.scheduler))
