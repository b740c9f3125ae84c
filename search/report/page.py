"""The report as one HTML page that needs no network and no script."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search import plotting
from search.data.addresses import FRAME, STDIN
from search.data.target import list_classes
from search.formatting import params_listed, short, visible
from search.report.champion import champion_figures
from search.report.history import best_over_time, history, learning_curves
from search.report.parameters import parameters
from search.report.study_data import Figure, StudyData, load_study_data
from search.report.timeline import timeline
from search.study.config_export import export_config
from storage.studies.statistics import COUNTED, state_name
from storage.studies.study import Study

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Report:
    """A study's report: the page, and the figures in it."""

    figures: list[Figure]
    html: str


@dataclass(frozen=True)
class _Section:
    """A section of the page: facts as pairs of name and value, and figures."""

    title: str
    facts: list[tuple[str, Any]]
    figures: list[Figure]


def make_report(study: Study) -> Report:
    """Make a study's report; a figure that cannot be drawn is replaced by the reason."""
    data = load_study_data(study)
    with plotting.style():
        progress = [history(data), best_over_time(data), learning_curves(data)]
        sections = [
            _Section("Champion", _champion_facts(data), champion_figures(data)),
            _Section("Search", _search_facts(data), [*progress, *parameters(data)]),
            _Section("Workers", [], [timeline(data)]),
        ]
        html = _render(
            study=data.study,
            summary=_summary(data),
            sections=sections,
            config=export_config(study),
            **_reproduction(data),
        )
    return Report([figure for section in sections for figure in section.figures], html)


def _render(**context: Any) -> str:
    """Render the template; everything except the figures is escaped for HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def svg(plot: "Axes") -> "Markup":
        plotting.fit(plot)
        # Matplotlib has already escaped the text in the SVG.
        return Markup(plotting.to_svg(plot))  # noqa: S704

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else visible(str(value))

    environment = Environment(
        autoescape=True,
        finalize=finalize,
        loader=PackageLoader("search.report", ""),
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(context, svg=svg)


def _summary(data: StudyData) -> str:
    states = Counter(map(state_name, data.trials))
    trials = ", ".join(f"{states[name]} {name}" for name in COUNTED if states[name])
    text = f"Metric: {data.metric} ({data.better}). Trials: {trials or 'none'}."
    best = data.best
    if best is None:
        return text
    params = f", with {params_listed(best.params)}" if best.params else ""
    return f"{text} Best: {data.score_text(best)} at trial {best.number}{params}."


def _champion_facts(data: StudyData) -> list[tuple[str, Any]]:
    """Return the champion's version, its trial, and its scores on the held-out rows."""
    notes, facts = data.notes, list[tuple[str, Any]]()
    if notes.model:
        facts.append(("model", f"{notes.model.name} version {notes.model.version}"))
    if notes.champion:
        source = f"trial {notes.champion.trial}, refitted with {notes.champion.trees} trees"
        best = data.best
        if best is not None and best.number != notes.champion.trial:
            source += f" (the best trial is {best.number})"
        facts.append(("source", source))
    scores = notes.holdout or {}
    return facts + [(f"hold-out {name}", short(value)) for name, value in scores.items()]


def _search_facts(data: StudyData) -> list[tuple[str, Any]]:
    """Return facts about the table and how trials were scored."""
    notes, spec = data.notes, data.notes.spec
    if spec is None:
        return []
    table = spec.description
    return [
        ("data", table.source),
        ("SHA-256", table.digest),
        ("target", f"{table.target} ({table.task})"),
        *([("classes", list_classes(notes.classes, table.positive))] if notes.classes else []),
        ("table", f"{notes.rows} rows, {notes.columns} columns"),
        ("held out", f"{100 * table.holdout:.3g}% of the rows"),
        ("scored by", f"{spec.metric}, {spec.evaluation}"),
        *table.roles.items(),
        *((role, ", ".join(names)) for role, names in table.lists.items()),
        ("growing", f"{sum(trial.fit_seconds or 0.0 for trial in data.trials):.4g} seconds"),
    ]


def _reproduction(data: StudyData) -> dict[str, Any]:
    """Return the commands that reproduce the model and the best trial and repeat the search."""
    name, model, spec = data.study, data.notes.model, data.notes.spec
    is_stored = spec is None or spec.description.source not in {FRAME, STDIN}
    option = "" if is_stored else " --data FILE"
    commands = []
    if model:
        version = f"{model.name} --version {model.version}"
        commands.append(f"grovekeeper reproduce {version}{option}")
    if data.best is not None:
        commands.append(f"grovekeeper reproduce {name} --trial {data.best.number}{option}")
    commands.append(f"grovekeeper launch --config {name}.toml --workers 1{option}")
    versions = data.notes.versions
    return {
        "commands": commands,
        "data_is_stored": is_stored,
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }
