"""Runs the command line: ``python -m grovekeeper`` and the console script ``grovekeeper``."""

from search.cli.app import main

if __name__ == "__main__":
    main()
