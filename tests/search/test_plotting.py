"""Labels and styles of figures."""

import matplotlib

from search import plotting


def test_a_label_is_one_short_line_without_control_characters() -> None:
    assert plotting.label("$x$\x1b\n") == r"$x$\u001b"
    assert plotting.label("n" * 100) == "n" * 29 + "…"


def test_a_dollar_sign_does_not_start_a_formula_and_the_users_style_stays() -> None:
    before = dict(matplotlib.rcParams)
    with plotting.style():
        axes = plotting.new_axes()
        axes.set_xlabel(plotting.label("$\\frac{$"))
        assert ">$\\frac{$</text>" in plotting.to_svg(axes)
    assert dict(matplotlib.rcParams) == before
