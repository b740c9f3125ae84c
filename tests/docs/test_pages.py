"""Every command and snippet of README and site, run as it stands there, page by page."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import PAGES, ROOT, Block, Page, assert_says
from terminal import Names, Terminal, at_home

from search.cli.app import app
from search.study.spec import make_spec, read_config

LANGUAGES = {"console", "sh", "python", "text", "toml", "mermaid"}
NEEDS = {
    "houses.csv": "houses",
    "studies": "studies",
    "PostgreSQL": "database",
    "a database of houses": "shop",
    "an MLflow server": "server",
    "a Dask cluster": "cluster",
    "free ports": "ports",
    "a virtual environment": "environment_here",
}
# What cannot be run here, and why.
NOT_RUN = {
    "installs packages",  # .ci/run does, and tests/deployment/test_wheel.py
    "needs Docker",  # tests/deployment runs the services as processes, .ci/image builds the image
    "needs SLURM",
    "needs Kubernetes",
    "the tests themselves",
    "takes long",
    "goes on",
}
READ = [Page(path) for path in PAGES]
MARKED = [
    pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.is_slow else [])
    for page in READ
    if any(not block.not_run for block in page.blocks)
]


@pytest.mark.parametrize("page", MARKED)
def test_a_page_does_what_it_says(
    page: Page, request: pytest.FixtureRequest, folder: Path, terminal: Terminal
) -> None:
    names: Names = {}
    for thing in page.needs:
        names |= request.getfixturevalue(NEEDS[thing])
    Reader(folder, terminal, names).follow(page)


class Reader:
    """Types what a page shows, and compares what is said with what it shows."""

    def __init__(self, folder: Path, terminal: Terminal, names: Names) -> None:
        self._folder, self._terminal, self._names = folder, terminal, names
        self._said = ""

    def follow(self, page: Page) -> None:
        for block in page.blocks:
            if not block.not_run and block.language != "mermaid":
                try:
                    getattr(self, f"_{block.language}")(block)
                except AssertionError as error:
                    raise AssertionError(f"{page.name}:{block.line}: {error}") from error

    def _sh(self, block: Block) -> None:
        if block.background:
            self._said = self._terminal.start(self._real(block.text), block.background)
            return
        command = self._real(block.text)
        if block.title:
            (self._folder / block.title).write_text(command, encoding="utf-8")
            command = f"bash {block.title}"
        self._said, failed = self._terminal.run(command)
        assert failed == 0, self._said

    def _console(self, block: Block) -> None:
        for command, shown in block.commands():
            if block.background:
                said = self._terminal.start(self._real(command), self._real(block.background))
            else:
                said, failed = self._terminal.run(self._real(command))
                assert failed == 0 or command.endswith("; echo $?"), said
            assert_says(shown, self._shown(said))

    def _python(self, block: Block) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self._real(block.text)],
            cwd=self._folder,
            env=at_home(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._said = done.stdout

    def _toml(self, block: Block) -> None:
        path = self._folder / (block.title or "unnamed.toml")
        path.write_text(block.text, encoding="utf-8")
        make_spec(read_config(path))

    def _text(self, block: Block) -> None:
        """What the block before prints."""
        assert_says(block.text, self._shown(self._said))

    def _real(self, text: str) -> str:
        for shown, real in self._names.items():
            text = text.replace(shown, real)
        return text

    def _shown(self, text: str) -> str:
        for shown, real in self._names.items():
            text = text.replace(real, shown)
        return text


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_whatever_looks_like_code_is_run(page: Page) -> None:
    for block in page.blocks:
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: a block is one of {sorted(LANGUAGES)}"
        assert block.language != "console" or block.text.startswith("$ "), where
    if any(block.language == "text" for block in page.blocks):
        before = ["", *(block.language for block in page.blocks)]
        texts = [before[k] for k, block in enumerate(page.blocks) if block.language == "text"]
        assert set(texts) <= {"python", "sh"}, f"{page.name}: text is what python or sh prints"


def test_few_blocks_are_not_run_each_for_a_reason() -> None:
    assert {block.not_run for page in READ for block in page.blocks} == NOT_RUN | {""}


def test_what_is_not_run_names_what_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for block in (block for page in READ for block in page.blocks if block.not_run):
        named = re.findall(r"\.\[(\w+)\]", block.text)
        assert set(named) <= set(extras), block.text
        for script in re.findall(r"python ([\w/]+\.py)", block.text):
            assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_commands_in_the_text_are_commands(page: Page) -> None:
    commands = {
        info.name or info.callback.__name__ for info in app.registered_commands if info.callback
    }
    for words in mentioned(page):
        command = [word for word in words if word in commands][:1]
        assert command or words[0].startswith("--"), f"{page.name}: {words}"
        options = set(re.findall(r"--[a-z-]+", helped(*command) + helped()))
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options, f"{page.name}: {words}"


def mentioned(page: Page) -> Iterator[list[str]]:
    """Words after the program's name, of what is a command in running text."""
    for code in page.inline:
        if code.startswith("grovekeeper ") and "COMMAND" not in code:
            yield shlex.split(code)[1:]


def helped(*command: str) -> str:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [*command, "--help"]).output


def test_links_of_the_readme_lead_somewhere() -> None:
    for page in READ:
        for link in page.links:
            path = link.partition("#")[0]
            if path and "://" not in path:
                generated = path.endswith(("command-line.md", "options.md"))
                assert generated or (page.folder / path).exists(), f"{page.name}: {link}"
