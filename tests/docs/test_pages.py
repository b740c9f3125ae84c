"""Run every code block of the README, CONTRIBUTING.md and the site, page by page, as written."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import PYTHON
from snippets import PAGES, ROOT, Block, Page, assert_output
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
    "few trials": "few_trials",
}
# Allowed reasons for blocks that are not run.
NOT_RUN = {
    "installs packages",  # .ci/run and tests/deployment/test_wheel.py do
    "needs Docker",  # tests/deployment runs the services as processes; .ci/image builds the image
    "needs SLURM",
    "needs Kubernetes",
    "the tests themselves",
    "takes long",
    "goes on",
}
ALL_PAGES = [Page(path) for path in PAGES]
RUN_PAGES = [
    pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.is_slow else [])
    for page in ALL_PAGES
    if any(not block.not_run for block in page.blocks)
]


@pytest.mark.parametrize("page", RUN_PAGES)
def test_all_blocks_of_a_page_run(
    page: Page, request: pytest.FixtureRequest, folder: Path, terminal: Terminal
) -> None:
    names: Names = {}
    for thing in page.needs:
        names |= request.getfixturevalue(NEEDS[thing])
    Reader(folder, terminal, names).follow(page)


class Reader:
    """Runs the blocks of a page and compares their output with the text on the page."""

    def __init__(self, folder: Path, terminal: Terminal, names: Names) -> None:
        self._folder, self._terminal, self._names = folder, terminal, names
        self._output = ""

    def follow(self, page: Page) -> None:
        for block in page.blocks:
            if not block.not_run and block.language != "mermaid":
                try:
                    getattr(self, f"_{block.language}")(block)
                except AssertionError as error:
                    raise AssertionError(f"{page.name}:{block.line}: {error}") from error

    def _sh(self, block: Block) -> None:
        if block.background:
            self._output = self._terminal.start(self._real(block.text), block.background)
            return
        command = self._real(block.text)
        if block.title:
            (self._folder / block.title).write_text(command, encoding="utf-8")
            command = f"bash {block.title}"
        self._output, failed = self._terminal.run(command)
        assert failed == 0, self._output

    def _console(self, block: Block) -> None:
        for command, shown in block.commands():
            if block.background:
                output = self._terminal.start(self._real(command), self._real(block.background))
            else:
                output, failed = self._terminal.run(self._real(command))
                assert failed == 0 or command.endswith("; echo $?"), output
            assert_output(shown, self._shown(output))

    def _python(self, block: Block) -> None:
        done = subprocess.run(
            [PYTHON, "-c", self._real(block.text)],
            cwd=self._folder,
            env=at_home(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._output = done.stdout

    def _toml(self, block: Block) -> None:
        path = self._folder / (block.title or "unnamed.toml")
        path.write_text(block.text, encoding="utf-8")
        make_spec(read_config(path))

    def _text(self, block: Block) -> None:
        """Compare the text with the output of the previous block."""
        assert_output(block.text, self._shown(self._output))

    def _real(self, text: str) -> str:
        for shown, real in self._names.items():
            text = text.replace(shown, real)
        return text

    def _shown(self, text: str) -> str:
        for shown, real in self._names.items():
            text = text.replace(real, shown)
        return text


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_block_has_a_known_language(page: Page) -> None:
    for block in page.blocks:
        where = f"{page.name}:{block.line}"
        assert block.language in LANGUAGES, (
            f"{where}: the language must be one of {sorted(LANGUAGES)}"
        )
        assert block.language != "console" or block.text.startswith("$ "), where
    if any(block.language == "text" for block in page.blocks):
        before = ["", *(block.language for block in page.blocks)]
        texts = [before[k] for k, block in enumerate(page.blocks) if block.language == "text"]
        assert set(texts) <= {"python", "sh"}, f"{page.name}: text must follow python or sh"


def test_blocks_that_are_not_run_give_a_known_reason() -> None:
    assert {block.not_run for page in ALL_PAGES for block in page.blocks} == NOT_RUN | {""}


def test_blocks_that_are_not_run_name_existing_extras_and_scripts() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for block in (block for page in ALL_PAGES for block in page.blocks if block.not_run):
        named = re.findall(r"\.\[(\w+)\]", block.text)
        assert set(named) <= set(extras), block.text
        for script in re.findall(r"python ([\w/]+\.py)", block.text):
            assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_commands_in_running_text_exist(page: Page) -> None:
    commands = {
        info.name or info.callback.__name__ for info in app.registered_commands if info.callback
    }
    for words in inline_commands(page):
        command = [word for word in words if word in commands][:1]
        assert command or words[0].startswith("--"), f"{page.name}: {words}"
        options = set(re.findall(r"--[a-z-]+", help_text(*command) + help_text()))
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options, f"{page.name}: {words}"


def inline_commands(page: Page) -> Iterator[list[str]]:
    """Yield the arguments of each command in inline code."""
    for code in page.inline:
        if code.startswith("grovekeeper ") and "COMMAND" not in code:
            yield shlex.split(code)[1:]


def help_text(*command: str) -> str:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [*command, "--help"]).output


def test_links_between_pages_exist() -> None:
    for page in ALL_PAGES:
        for link in page.links:
            path = link.partition("#")[0]
            if path and "://" not in path:
                generated = path.endswith(("command-line.md", "options.md", "schemas.md"))
                assert generated or (page.folder / path).exists(), f"{page.name}: {link}"
