"""The command line: one module a command, one boundary for errors, presentation only."""

from search.cli.app import main

__all__ = ["main"]
