"""A study explained in figures, made from Optuna's database alone: one HTML page, no network."""

from search.plots.facts import Figure
from search.plots.page import Page, make_page

__all__ = ["Figure", "Page", "make_page"]
