"""The search as scikit-learn estimators, in memory or as a launch that is stored.

`base` holds the two estimators, `fit_arguments` checks what `fit` is given beside X and y, and
`in_memory` runs a search that is stored nowhere. The package is at the top of `search` and may
import all of it except `cli`.
"""
