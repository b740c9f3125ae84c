"""Writes the model card of a registered version: origin, scores, last move, and reproduction."""

from collections.abc import Mapping

from search.data.description import LISTS, ROLES
from search.formatting import code, params_listed, scores_listed
from search.model.plots import artifact_path
from search.model.provenance import Provenance
from storage.records import Move

# MLflow's databases store at most 5,000 characters.
_LENGTH = 5000
_MOST_PARAMS = 20


def describe(
    provenance: Provenance, holdout: Mapping[str, float], model: str, last: Move | None = None
) -> str:
    """Return a version's description as Markdown.

    Parameters
    ----------
    holdout
        The version's scores on the held-out rows by metric.
    last
        The last recorded move of the version, or refusal to move it.
    """
    data = provenance.data
    positive = "" if data.positive is None else f", positive class {code(data.positive)}"
    about = [f"{code(data.source)}, target {code(data.target)} ({data.task}{positive})"]
    about += [f"by {code(data.query)}"] if data.query else []
    about += [f"{ROLES[role]}: {code(name)}" for role, name in data.roles.items()]
    about += [f"{LISTS[role]}: {code(', '.join(names))}" for role, names in data.lists.items()]
    kept = (
        f"{100 * data.holdout:.3g}% of the rows held out"
        if data.holdout
        else "trained on every row"
    )
    judged = f"version {provenance.refit_of} was judged for it"
    lines = [
        f"Trial {provenance.trial} of study **{provenance.study}**, "
        f"refitted with {provenance.trees} trees.",
        "",
        f"- **Data**: {'; '.join(about)}; {kept}; SHA-256 `{data.digest[:16]}…`",
        f"- **Search**: by {provenance.metric}, seed {provenance.seed}",
        f"- **Hyperparameters**: {_params(provenance)}",
        f"- **Hold-out**: {judged if provenance.refit_of else (scores_listed(holdout) or 'none')}",
        f"- **Gate**: {_verdict(last)}",
        *(_pictures(provenance) if data.holdout else ()),
        f"- **Versions**: {', '.join(f'{k} {v}' for k, v in provenance.versions.items())}",
        "",
        f"Reproduce it bit for bit: `grovekeeper reproduce {model} --version N`, with this "
        "version's number. "
        f"Who moved it: `grovekeeper history {model}`.",
    ]
    return "\n".join(lines)[:_LENGTH]


def _pictures(provenance: Provenance) -> tuple[str]:
    place = artifact_path(provenance.trial)
    return (f"- **Pictures**: importance and errors on the hold-out, in the run's `{place}`",)


def _params(provenance: Provenance) -> str:
    shown = dict(list(provenance.params.items())[:_MOST_PARAMS])
    return code(params_listed(shown)) if shown else "scikit-learn's"


def _verdict(last: Move | None) -> str:
    if last is None:
        return "not judged yet"
    said = last.judgement.verdict if last.judgement else "not judged"
    word = {"refuse": "refused for", "rollback": "rolled back to"}.get(last.action, "moved to")
    return f"{word} {last.stage} on {last.time[:10]} by {code(last.user)}: {said}"
