"""Exports a study as the configuration file that launches the same search."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from search.formatting import visible, written
from search.study.notes import read_notes
from search.study.problem import options_of
from storage.studies.study import Study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def export_config(study: Study) -> str | None:
    """Return the text of a TOML file for `launch --config`.

    Returns ``None`` for a study that another program made.
    """
    notes = read_notes(study)
    if notes.spec is None:
        return None
    options = {"study": study.name, "experiment": notes.experiment} | notes.asked.model_dump()
    options |= options_of(notes.spec) | {"trials": notes.goal}
    lines = [
        f"{name} = {toml_value(value)}" for name, value in options.items() if value is not None
    ]
    from optuna.distributions import json_to_distribution

    space = {name: json_to_distribution(text) for name, text in notes.spec.space.items()}
    return "\n".join([*lines, "", "[space]", *space_lines(space)])


def space_lines(space: "Mapping[str, BaseDistribution]") -> Iterator[str]:
    """Yield the lines of a search space in a configuration file."""
    for name, distribution in space.items():
        yield f"{name} = {_choice(distribution)}"


def _choice(distribution: "BaseDistribution") -> str:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return f"[{', '.join(toml_value(choice) for choice in distribution.choices)}]"
    about = vars(distribution)
    log = ", log = true" if about["log"] else ""
    return f"{{low = {about['low']!r}, high = {about['high']!r}{log}}}"


def toml_value(value: Any) -> str:
    """Write a value in TOML, whose strings, numbers and booleans are written as in JSON."""
    return visible(json.dumps(written(value), ensure_ascii=False))
