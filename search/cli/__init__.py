"""The command line: one module per command, which parses options and prints results.

Start reading at `app`, which registers the commands and turns errors into exit codes. `options`
holds the options that commands share, `output` prints. Commands call `search.service`,
`search.promotion` and `search.report`; the package may import all of `search` except
`search.estimators` and `search.api`.
"""

from search.cli.app import main

__all__ = ["main"]
