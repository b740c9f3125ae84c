"""Describes a study: what the user asks for and what follows from it, before any tree grows.

`spec` is the user's request, `problem` is the request checked against the table, `search_space`
holds the hyperparameters, and `splitting` chooses between out-of-bag votes and folds. The
package may import `data`, `forest` and `storage`. Start at `spec.StudySpec` and
`problem.load_problem`.
"""
