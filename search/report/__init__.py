"""A study's report, made from Optuna's database alone: one HTML page, no network, and pictures."""

from search.report.page import Report, make_report
from search.report.png import draw
from search.report.study_data import Figure
from search.study.notes import read_notes
from storage.studies.study import Study

__all__ = ["Figure", "Report", "draw", "make_report", "report_files"]

# What is drawn for those who look at pictures; the page has more.
_DRAWN = ("history", "curves", "importance", "parallel", "workers")


def report_files(study: Study) -> dict[str, bytes]:
    """Make the files that a study's run in MLflow keeps: the page, and its main figures as PNG.

    Before the study has a champion there are none: it is to go on.
    """
    if read_notes(study).champion is None:
        return {}
    report = make_report(study)
    drawn = {f"{f.name}.png": draw(f) for f in report.figures if f.name in _DRAWN}
    pictures = {name: picture for name, picture in drawn.items() if picture is not None}
    return {"report.html": report.html.encode()} | pictures
