"""The documentation site builds without warnings and loads nothing from other servers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from snippets import ROOT

import grovekeeper
from search.cli.app import app
from search.study.spec import StudySpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_reference_lists_all_commands_and_options(site: Path) -> None:
    commands = (site / "reference/command-line.html").read_text(encoding="utf-8")
    for info in app.registered_commands:
        assert info.callback is not None
        assert f'id="grovekeeper-{info.name or info.callback.__name__}"' in commands
    options = (site / "reference/options.html").read_text(encoding="utf-8")
    for name, field in StudySpec.model_fields.items():
        assert f"<td><code>{field.alias or name}</code></td>" in options


def test_the_reference_lists_all_public_python_names(site: Path) -> None:
    page = (site / "reference/python.html").read_text(encoding="utf-8")
    public = set(grovekeeper.__all__) - {"__version__"}
    for name in (*public, "Result.to_frame"):
        assert f'id="grovekeeper.{name}"' in page, name
    documented = " ".join(re.findall(r'title="grovekeeper.StudySpec.([\w, ]+)"', page))
    for name, field in StudySpec.model_fields.items():
        assert (field.alias or name) in documented.replace(",", "").split(), name


def test_formulas_are_rendered_as_mathml(site: Path) -> None:
    page = (site / "explanation/infinite-forest.html").read_text(encoding="utf-8")
    assert page.count("<math") > 10
    assert "arithmatex" not in page
    assert "\\frac" not in page


def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\s\">]+)", page)
        fetched += re.findall(r"<link[^>]*rel=\"?stylesheet[^>]*href=\"?([^\s\">]+)", page)
        assert fetched
        assert not [address for address in fetched if "//" in address and "data:" not in address]
