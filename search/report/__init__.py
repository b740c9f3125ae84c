"""A study's report, made from Optuna's database alone: one HTML page, no network, and PNG images.

The package may import `study`, `data` and the packages below them. Start at `page.make_report`.
"""

from search.plotting import to_png
from search.report.page import Report, make_report
from search.report.study_data import Figure
from search.study.notes import read_notes
from storage.studies.study import Study

__all__ = ["Figure", "Report", "make_report", "report_files"]

# The figures that a run also keeps as PNG images.
_IMAGES = ("history", "curves", "importance", "parallel", "workers")


def report_files(study: Study) -> dict[str, bytes]:
    """Return the files of the report that a study's MLflow run keeps, by name.

    There are none before the study has a champion, because it can still change.
    """
    if read_notes(study).champion is None:
        return {}
    report = make_report(study)
    images = {
        f"{figure.name}.png": to_png(figure.plot, figure.title)
        for figure in report.figures
        if figure.name in _IMAGES and figure.plot is not None
    }
    return {"report.html": report.html.encode()} | images
