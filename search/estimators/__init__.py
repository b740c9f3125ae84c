"""scikit-learn estimators that search in memory or run a stored launch.

`base` holds the two estimators, `fit_arguments` checks the weights and groups given to `fit`, and
`in_memory` runs a search without storing it. The package is at the top of `search` and may
import all of it except `cli`. Start at `base`.
"""
