"""Read the code blocks of Markdown pages and the hidden comments that say how to run them.

- `<!-- needs: THING, … -->`: fixtures that the page needs
- `<!-- background: TEXT -->`: the next block keeps running, and prints TEXT once it is ready
- `<!-- not run: REASON -->`: the next block cannot be run in the tests
- `<!-- slow -->`: the whole page is run only with the slow tests
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
    """A block of code: its language ("" for indented code), file name (title), text and line."""

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
    """The code blocks, inline code and links of a page."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.folder = path.parent
        self.blocks: list[Block] = []
        self.needs: list[str] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self.is_slow = False
        comments: dict[str, str] = {}
        for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
            if token.type == "html_block":
                for kind, text in _COMMENT.findall(token.content):
                    self.is_slow |= kind == "slow"
                    if kind == "needs":
                        self.needs += [thing.strip() for thing in text.split(",")]
                    elif kind != "slow":
                        comments[kind.replace(" ", "_")] = text
            elif token.type in {"fence", "code_block"}:
                self.blocks.append(_block(token, comments))
                comments = {}
            for child in token.children or ():
                if child.type == "code_inline":
                    self.inline.append(child.content)
                elif child.type in {"link_open", "image"}:
                    self.links.append(str(child.attrs.get("href") or child.attrs.get("src")))
        assert not comments, f"{self.name}: no block follows {comments}"


def _block(token: Token, comments: dict[str, str]) -> Block:
    language, _, about = token.info.partition(" ")
    title = re.fullmatch(r'title="([\w.-]+)"', about)
    assert title or not about, token.info
    assert token.map is not None
    return Block(
        language=language,
        title=title[1] if title else "",
        text=token.content,
        line=token.map[0] + 1,
        **comments,
    )


def assert_output(shown: str, output: str) -> None:
    """Compare output with the text that a page shows.

    `...` matches any text, spaces match any white space, and a number with a decimal point matches
    numbers that differ from it by up to 5%: scores change a little with the versions of libraries.
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
    match = re.fullmatch(pattern + re.escape(text[after:]), " ".join(output.split()))
    assert match, f"shown:\n{shown}\n\noutput:\n{output}"
    for number, now in zip(numbers, match.groups(), strict=True):
        assert abs(float(now) - number) <= abs(number) / 20, f"{number} is {now} in\n{output}"
