import tomllib

import pytest

from search.formatting import code, visible

ODD = "a\x1b[31m\x9b\u202eb\u2066\x7f\u2028c"


def test_control_characters_and_direction_marks_are_escaped() -> None:
    assert visible(ODD) == r"a\u001b[31m\u009b\u202eb\u2066\u007f\u2028c"
    plain = "Grün, 東京, שלום, emoji 👩‍🌾\n\tand tabs"
    assert visible(plain) == plain
    assert visible("one\rtwo\x00") == r"one\u000dtwo\u0000"


def test_toml_reads_escapes_as_the_original_characters() -> None:
    assert tomllib.loads(f'name = "{visible(ODD)}"') == {"name": ODD}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("price", "`price`"),
        ("a` [x](javascript:alert(1)) `b", "`a' [x](javascript:alert(1)) 'b`"),
        ("# one\n\n- two", "`# one - two`"),
        ("\u202egnp.exe", r"`\u202egnp.exe`"),
        ("n" * 10_000, f"`{'n' * 499}…`"),
    ],
)
def test_a_name_in_markdown_is_inline_code_on_one_line(name: str, shown: str) -> None:
    assert code(name) == shown
