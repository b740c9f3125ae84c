"""Checks of the project itself: import contracts, start-up, help, the map in CONTRIBUTING.md."""

import ast
import functools
import importlib
import re
import subprocess
import sys
import tomllib
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


def test_every_command_is_documented_and_in_these_tests() -> None:
    from search.cli.app import app

    names = {
        (info.name or info.callback.__name__) for info in app.registered_commands if info.callback
    }
    assert names == set(COMMANDS)
    page = (ROOT / "docs/reference/commands.md").read_text()
    for name in names:
        assert f"grovekeeper {name}" in page


def test_fault_points_name_existing_objects() -> None:
    """The fault suite names them in strings, and is not run for every change."""
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
    stored = {
        'STEPS = "n_estimators"',
        'ENOUGH_STEPS = "enough_trees"',
        'MODEL_STEPS = "model_trees"',
    }
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / "storage").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line) and line not in stored
    ]
    assert found == []


PACKAGES = sorted(
    path.parent
    for top in ("grovekeeper", "search", "storage")
    for path in ROOT.glob(f"{top}/**/__init__.py")
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", ["search", "storage"])
def test_few_modules_stand_directly_in_a_package(package: str) -> None:
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert len(modules) <= 8, modules


@pytest.mark.parametrize("package", PACKAGES, ids=relative)
def test_every_package_says_its_purpose_its_imports_and_where_to_start(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    assert docstring is not None
    sentences = re.findall(r"[.!](?=\s|$)", docstring.partition("::\n")[0])
    assert 3 <= len(sentences) <= 5, docstring
    assert re.search(r"\bimports?\b", docstring), docstring
    assert re.search(r"\b[Ss]tart\s+(at|reading)\b", docstring), docstring


def section(heading: str) -> str:
    """Return a section of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (found,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return str(found)


def test_contributing_describes_every_package_of_the_import_contracts() -> None:
    text = section("Packages")
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [
        layer
        for contract in contracts["contracts"]
        if contract.get("containers") in (["search"], ["storage"])
        for layer in contract["layers"]
    ]
    modules = {name for layer in layers for name in layer.split(" | ")}
    packages = {path.name for path in PACKAGES if path.parent != ROOT}
    assert packages <= modules
    for layer in layers:
        shown = [name for name in layer.split(" | ") if name in packages]
        assert not shown or " · ".join(shown) in diagram.replace("cli · api", "cli"), shown
    for path in PACKAGES:
        assert path.parent == ROOT or f"| `{relative(path)}/` |" in text, path


def definitions(path: Path) -> set[str]:
    """Return the names of a module's functions and classes, and of their methods."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
            methods = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{m.name}" for m in methods if isinstance(m, ast.FunctionDef)}
    return found


def test_the_map_in_contributing_names_functions_that_exist() -> None:
    rows = re.findall(r"^\| Where (.+?)\? \| `(.+?)` \| `(.+?)` \|$", section("Where is…?"), re.M)
    assert [question for question, _, _ in rows] == [
        "are out-of-bag votes added up",
        "is the thread that writes trials to Optuna's database",
        "is the thread that writes to MLflow",
        "does a trial become an MLflow run",
        "does the gate decide",
        "is a worker started",
        "is a CSV file read",
        "is the lease renewed",
        "is the report drawn",
    ]
    for question, file, function in rows:
        assert function in definitions(ROOT / file), question


def test_contributing_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:search|storage|tests|docs|benchmarks|\.ci)/[\w./-]*)`", text)
    assert len(named) > 30
    for name in named:
        assert (ROOT / name).exists(), name
