"""The MLflow Model Registry: versions, aliases and stages.

`client` reads and writes the registry, and `transitions` records a move between stages before
it is carried out, so that a crash leaves nothing half done. The package may import `tracking`
and everything below it. Start at `client.Registry`.
"""
