"""The page: figures and facts as one HTML file that needs no network."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from search.data.addresses import FRAME, STDIN
from search.formatting import params_listed, short, visible
from search.report.champion import champion
from search.report.history import curves, history, over_time
from search.report.parameters import parameters
from search.report.study_data import Facts, Figure, gather
from search.report.timeline import timeline
from search.study.config_export import export_config
from storage.studies.statistics import COUNTED, state_name
from storage.studies.study import Study


@dataclass(frozen=True)
class Report:
    """A study's page and the figures in it."""

    figures: list[Figure]
    html: str


def make_report(study: Study) -> Report:
    """Make a study's report; a figure that cannot be drawn says why in its place."""
    facts = gather(study)
    groups = {
        "champion": ("The champion", _champion(facts), champion(facts)),
        "search": (
            "The search",
            _search(facts),
            [history(facts), over_time(facts), curves(facts), *parameters(facts)],
        ),
        "growing": ("The workers", "", [timeline(facts)]),
        "again": ("Make it again", _again(facts, export_config(study)), []),
    }
    figures = [figure for _, _, drawn in groups.values() for figure in drawn]
    content = "\n".join(
        f'<h2 id="{key}">{title}</h2>\n{text}\n<div class="figures">'
        + "\n".join(_section(figure) for figure in drawn)
        + "</div>"
        for key, (title, text, drawn) in groups.items()
    )
    return Report(figures, _html(facts, figures, content))


def _html(facts: Facts, figures: list[Figure], content: str) -> str:
    from plotly.io.json import to_json_plotly
    from plotly.offline import get_plotlyjs

    plots = {figure.name: figure.plot for figure in figures if figure.plot is not None}
    return _PAGE.substitute(
        study=escape(visible(facts.study)),
        summary=escape(visible(_summary(facts))),
        content=visible(content),
        plotly=get_plotlyjs(),
        # Nothing in it can end the script: JSON needs no "<".
        plots=to_json_plotly(plots).replace("<", "\\u003c"),
    )


def _summary(facts: Facts) -> str:
    states = Counter(map(state_name, facts.trials))
    trials = ", ".join(f"{states[name]} {name}" for name in COUNTED if states[name])
    text = f"Metric: {facts.metric} ({facts.better}). Trials: {trials or 'none'}."
    if facts.best is None:
        return text
    best = facts.best
    with_ = f", with {params_listed(best.params)}" if best.params else ""
    return f"{text} Best: {facts.said(best)} at trial {best.number}{with_}."


def _champion(facts: Facts) -> str:
    """Write what the champion is and how it does on the hold-out."""
    notes = facts.notes
    rows: list[tuple[str, Any]] = []
    if notes.model:
        rows.append(("model", f"{notes.model.name} version {notes.model.version}"))
    if notes.champion:
        made = f"trial {notes.champion.trial}, refitted with {notes.champion.trees} trees"
        rows.append(("made of", made))
    rows += [(f"hold-out {name}", short(value)) for name, value in (notes.holdout or {}).items()]
    return _table(rows)


def _search(facts: Facts) -> str:
    """Write what was searched, on which data."""
    notes, spec = facts.notes, facts.notes.spec
    if spec is None:
        return ""
    data = spec.description
    rows = [
        ("data", data.source),
        ("SHA-256", data.digest),
        ("target", f"{data.target} ({data.task})"),
        ("table", f"{notes.rows} rows, {notes.columns} columns"),
        ("held out", f"{100 * data.holdout:.3g}% of the rows"),
        ("scored by", f"{spec.metric}, {spec.evaluation}"),
        *data.roles.items(),
        ("growing", f"{sum(trial.fit_seconds or 0.0 for trial in facts.trials):.4g} seconds"),
    ]
    return _table(rows)


def _again(facts: Facts, toml: str | None) -> str:
    """Write how the model, the best trial and the whole search are made again."""
    notes = facts.notes
    if toml is None or notes.spec is None:
        return "<p>This study was not made by Grovekeeper.</p>"
    name, model = facts.study, notes.model
    is_kept = notes.spec.description.source not in {FRAME, STDIN}
    data = "" if is_kept else " --data FILE"
    where = "" if is_kept else " FILE is the table that was in memory, or piped, written out."
    lines = []
    if model:
        lines.append(f"grovekeeper reproduce {model.name} --version {model.version}{data}")
    if facts.best is not None:
        lines.append(f"grovekeeper reproduce {name} --trial {facts.best.number}{data}")
    lines.append(f"grovekeeper launch --config {name}.toml --workers 1{data}")
    versions = ", ".join(f"{k} {v}" for k, v in notes.versions.items())
    return (
        "<p><code>reproduce</code> compares to the bit with what is on record. "
        "<code>launch</code> runs the whole search again, from the file below as "
        f"{escape(name)}.toml and with no study of that name in the database: with one worker, "
        f"trial by trial as it first ran with one.{where}</p>"
        f"<pre>{escape(chr(10).join(lines))}</pre><pre>{escape(toml)}</pre>"
        f"<p>Made with {escape(versions)}.</p>"
    )


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in rows
        if value is not None
    )
    return f"<table>{body}</table>" if body else ""


def _section(figure: Figure) -> str:
    title = f"<h3>{escape(figure.title)}</h3>"
    kind = "half" if figure.half else "full"
    if figure.plot is None:
        missing = f'<p class="missing">Not shown: {escape(figure.text)}</p>'
        return f'<section class="{kind}">{title}{missing}</section>'
    return (
        f'<section class="{kind}">{title}<p>{escape(figure.reading)}</p>'
        f'<div class="scroll"><div role="img" aria-label="{escape(figure.text)}" id="{figure.name}"'
        f' style="height:{figure.height}px;min-width:{figure.width}px"></div></div></section>'
    )


_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<title>$study - Grovekeeper</title>
<style>
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: white; color: #1f2937;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0.5rem 0; }
h2 { margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem; border-bottom: 1px solid #e5e7eb; }
h3 { margin: 0 0 0.25rem; font-size: 1.1rem; }
p { margin: 0 0 0.5rem; max-width: 48rem; }
table { border-collapse: collapse; margin-bottom: 1rem; }
th { text-align: left; font-weight: 600; padding: 0.1rem 1rem 0.1rem 0; vertical-align: top;
  white-space: nowrap; }
pre { overflow-x: auto; padding: 0.75rem; background: #f8fafc; border: 1px solid #e5e7eb; }
.figures { display: grid; gap: 2rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
section { min-width: 0; }
.full { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
.missing { color: #4b5563; font-style: italic; }
</style>
</head>
<body>
<h1>$study</h1>
<p>$summary</p>
<noscript><p>A script in this page draws the figures; it is switched off here.</p></noscript>
<main>
$content
</main>
<script>$plotly</script>
<script>
const plots = $plots;
for (const [name, plot] of Object.entries(plots)) {
  Plotly.newPlot(name, plot.data, plot.layout, {responsive: true, displayModeBar: false});
}
for (const box of document.querySelectorAll(".scroll, pre")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;  // so that keys can scroll it
}
</script>
</body>
</html>
""")
