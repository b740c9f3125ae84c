"""Project-wide rules: import order, a fast start, an example in the help of each command."""

import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    *("mlflow", "sklearn", "skrub", "optuna", "distributed", "pandas", "numpy", "sqlalchemy"),
    "search.study.spec",  # builds a pydantic model: help texts come from its JSON Schema
)
COMMANDS = (
    *("init", "launch", "stop", "studies", "show", "watch", "best", "compare", "report", "ui"),
    *("promote", "rollback", "history", "reproduce", "sync", "delete", "doctor"),
)


def test_imports_follow_the_order_of_packages() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["launch", "--help"], ["--version"]])
def test_help_and_version_import_no_heavy_package(arguments: list[str]) -> None:
    code = (
        "import sys; from search.cli.app import run; run(sys.argv[1:]);"
        f"sys.exit(','.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from search.cli.app import run

    assert run([command, "--help"]) == 0
    assert f"Example: grovekeeper {command}" in capsys.readouterr().out


def test_every_command_is_in_the_readme_and_in_these_tests() -> None:
    from search.cli.app import app

    names = {
        (info.name or info.callback.__name__) for info in app.registered_commands if info.callback
    }
    assert names == set(COMMANDS)
    readme = (ROOT / "README.md").read_text()
    for name in names:
        assert f"grovekeeper {name}" in readme


def test_fault_points_name_existing_objects() -> None:
    """The fault suite names them in strings, and does not run with every change."""
    texts = [path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py")]
    points = re.findall(r'"([a-z_.]+:[A-Za-z_.]+)"', "".join(texts))
    assert len(set(points)) > 20
    for point in points:
        module, _, path = point.partition(":")
        functools.reduce(getattr, path.split("."), importlib.import_module(module))


def test_storage_knows_nothing_of_forests() -> None:
    """Only the names of attributes in stored trials remain, in storage/studies/trials.py."""
    words = re.compile(
        r"forest|tree|out.of.bag|n_estimators|max_features|min_samples|splitter", re.I
    )
    stored = {'STEPS = "n_estimators"', 'ENOUGH_STEPS = "enough_trees"'}
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / "storage").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line) and line not in stored
    ]
    assert found == []
