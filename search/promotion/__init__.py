"""Moves model versions between stages, and decides whether a version may be moved.

`gate` holds the statistics of the comparison, `evaluation` scores candidate and incumbent on the
same held-out rows, `promote` carries out the decision and records it, `versions` selects versions,
and `history` lists the moves. The package may import `model` and everything below it. Start at
`promote.promote`.
"""
