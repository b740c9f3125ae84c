"""The page: figures as one HTML file that needs no network."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from string import Template

from search.plots.facts import Facts, Figure, gather, short
from search.plots.parameters import parameters
from search.plots.progress import curves, history, over_time
from storage.studies import Study

_STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class Page:
    """A study's page and the figures in it."""

    figures: list[Figure]
    html: str


def make_page(study: Study, guide: str | None = None) -> Page:
    """Make a study's page; a figure that cannot be drawn says why in its place.

    Parameters
    ----------
    guide
        What the scores are that trials report as they grow, where that is not the study's metric.
    """
    facts = gather(study, guide)
    figures = [history(facts), over_time(facts), curves(facts), *parameters(facts)]
    return Page(figures, _html(facts, figures))


def _html(facts: Facts, figures: list[Figure]) -> str:
    from plotly.io.json import to_json_plotly
    from plotly.offline import get_plotlyjs

    plots = {figure.name: figure.plot for figure in figures if figure.plot is not None}
    return _PAGE.substitute(
        study=escape(facts.study),
        summary=escape(_summary(facts)),
        sections="\n".join(_section(figure) for figure in figures),
        plotly=get_plotlyjs(),
        # Nothing in it can end the script: JSON needs no "<".
        plots=to_json_plotly(plots).replace("<", "\\u003c"),
    )


def _summary(facts: Facts) -> str:
    states = Counter(_STATES[trial.state] for trial in facts.trials)
    trials = ", ".join(f"{states[state]} {state}" for state in _STATES.values() if states[state])
    text = f"Metric: {facts.metric} ({facts.better}). Trials: {trials or 'none'}."
    if facts.best is None:
        return text
    said = ", ".join(f"{name} {short(value)}" for name, value in facts.best.params.items())
    return f"{text} Best: {facts.said(facts.best)} at trial {facts.best.number}, with {said}."


def _section(figure: Figure) -> str:
    title = f"<h2>{escape(figure.title)}</h2>"
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
h2 { margin: 0 0 0.25rem; font-size: 1.2rem; }
p { margin: 0 0 0.5rem; max-width: 48rem; }
main { display: grid; gap: 2rem 1.5rem; margin-top: 1.5rem;
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
$sections
</main>
<script>$plotly</script>
<script>
const plots = $plots;
for (const [name, plot] of Object.entries(plots)) {
  Plotly.newPlot(name, plot.data, plot.layout, {responsive: true, displayModeBar: false});
}
for (const box of document.querySelectorAll(".scroll")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;  // so that keys can scroll it
}
</script>
</body>
</html>
""")
