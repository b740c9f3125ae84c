"""Moves model versions between stages, and decides whether a version may be moved.

`gate` holds the statistics of the comparison, `evaluation` scores candidate and incumbent on
the same rows, `promote` makes the decision and records it, and `history` lists the moves. The
package may import `model` and everything below it. Start at `promote.promote`.
"""
