"""Measure how long a study's view takes to appear in the MLflow UI, in Chromium.

    python benchmarks/scale.py trials 10000 --keep FOLDER
    python benchmarks/view.py FOLDER many-10000

Needs Playwright and Debian's Chromium.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

_COMMAND = str(Path(sys.executable).with_name("grovekeeper"))
_CHROMIUM = "/usr/bin/chromium"
_PORT = "5077"
_TIMES = 3
_PATIENCE = 120_000


def main() -> None:
    """Print the seconds of the first and of later openings, for table and charts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("study")
    arguments = parser.parse_args()
    command = [_COMMAND, "ui", "--study", arguments.study, "--port", _PORT]
    with subprocess.Popen(
        command, cwd=arguments.folder, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            said = [server.stdout.readline() for _ in range(3)] if server.stdout else []
            _open(dict(re.findall(r"(trials|charts): (http://\S+)", "".join(said))))
        finally:
            server.terminate()


def _open(pages: dict[str, str]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 800})
        for kind, address in pages.items():
            for number in range(_TIMES):
                page.goto("about:blank")
                began = time.perf_counter()
                page.goto(address)
                page.get_by_role("link", name=re.compile("^trial-")).first.wait_for(
                    timeout=_PATIENCE
                )
                if kind == "charts":
                    page.get_by_text("Parallel Coordinates").wait_for(timeout=_PATIENCE)
                print(f"{kind}, time {number + 1}: {time.perf_counter() - began:.1f} s")
        browser.close()


if __name__ == "__main__":
    main()
