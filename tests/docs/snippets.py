"""Code blocks of Markdown pages: what they are, what readers do not see of them, what they say.

Three kinds of comments tell how a page is run: `<!-- needs: THING, … -->` what has to be there,
`<!-- background: TEXT -->` that the next block goes on running, and prints this when it is up, and
`<!-- not run: REASON -->` that the next block cannot be run here. `<!-- slow -->` is for pages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))

_COMMENT = re.compile(r"<!--\s*(needs|background|not run|slow):?\s*(.*?)\s*-->", re.DOTALL)
_LOOSE = re.compile(r" ?\.\.\. ?|(?<![\w.])-?\d+\.\d+(?![\w.])")


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" of indented code), the file it stands in, its text."""

    language: str
    title: str
    text: str
    line: int
    background: str = ""
    not_run: str = ""

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command of a `console` block with the output that is shown."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = next(k for k, line in enumerate(lines) if not line.endswith("\\")) + 1
            command = "\n".join(line.removeprefix("> ") for line in lines[:end])
            yield command, "\n".join(lines[end:]).strip("\n")


class Page:
    """A page, read."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.folder = path.parent
        self.blocks: list[Block] = []
        self.needs: list[str] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self.is_slow = False
        said: dict[str, str] = {}
        for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
            if token.type == "html_block":
                for kind, text in _COMMENT.findall(token.content):
                    self.is_slow |= kind == "slow"
                    if kind == "needs":
                        self.needs += [thing.strip() for thing in text.split(",")]
                    elif kind != "slow":
                        said[kind.replace(" ", "_")] = text
            elif token.type in {"fence", "code_block"}:
                self.blocks.append(_block(token, said))
                said = {}
            for child in token.children or ():
                if child.type == "code_inline":
                    self.inline.append(child.content)
                elif child.type in {"link_open", "image"}:
                    self.links.append(str(child.attrs.get("href") or child.attrs.get("src")))
        assert not said, f"{self.name}: {said} stands before no block"


def _block(token: Token, said: dict[str, str]) -> Block:
    language, _, about = token.info.partition(" ")
    title = re.fullmatch(r'title="([\w.-]+)"', about)
    assert title or not about, token.info
    assert token.map is not None
    return Block(
        language=language,
        title=title[1] if title else "",
        text=token.content,
        line=token.map[0] + 1,
        **said,
    )


def assert_says(shown: str, said: str) -> None:
    """Compare output with what a page shows of it.

    `...` stands for anything, spaces for any space, and a number with a decimal point for all that
    are within a twentieth of it: scores differ a little from one version of a library to the next.
    """
    pattern, numbers, after = "", [], 0
    text = " ".join(shown.split())
    for found in _LOOSE.finditer(text):
        pattern += re.escape(text[after : found.start()])
        if found[0].strip() == "...":
            pattern += ".*?"
        else:
            pattern += r"(-?\d+(?:\.\d+)?)"
            numbers.append(float(found[0]))
        after = found.end()
    match = re.fullmatch(pattern + re.escape(text[after:]), " ".join(said.split()))
    assert match, f"shown:\n{shown}\n\nsaid:\n{said}"
    for number, now in zip(numbers, match.groups(), strict=True):
        assert abs(float(now) - number) <= abs(number) / 20, f"{number} is {now} in\n{said}"
