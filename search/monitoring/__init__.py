"""Shows people how a search is going, in the launching terminal or from anywhere else.

`status` holds the state of a running study, `observer` is the interface of everything that is
told about changes, `poller` reads a study from its database, and `display` and `panel` draw it.
The package may import `study` and `storage`. Start at `status`.
"""
