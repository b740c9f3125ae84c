"""Shows the progress of a search, in the launching terminal or anywhere else.

`status` holds the state of a running study, `observer` is the interface of a launch to its caller,
`poller` reads a study from its database, `messages` collects log records, and `display` and `panel`
draw all of it. The package may import `study` and `storage`. Start at `status`.
"""
