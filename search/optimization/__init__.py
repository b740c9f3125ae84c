"""Runs a search: decides which trial grows next, how far it grows, and when the study ends.

`coordinator` holds the main loop, `trial_queue` determines the next trial, `proposer` asks Optuna's
sampler, and `plan` holds the inputs of the loop. The package may import `workers`, `study`,
`forest` and `storage`. Start at `coordinator.Coordinator.run`.
"""
