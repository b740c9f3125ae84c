"""Runs a search: decides which trial grows next, how far it grows, and when the study ends.

`coordinator` is the loop, `trial_queue` says which trial is next, `proposer` holds Optuna's
sampler in memory, and `plan` holds everything the loop is given. The package may import
`workers`, `study`, `forest` and `storage`. Start at `coordinator.Coordinator.run`.
"""
