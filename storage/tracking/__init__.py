"""The MLflow mirror: one run per trial, nested under the run of its study.

`mirror` brings MLflow up to date with a study's records, `runs` and `study_run` write single runs,
`mirror_writer` does so from a thread of its own, and `callback` offers the mirror to any Optuna
study. The package may import `studies`, `leases` and the top-level modules of `storage`. Start
at `mirror.Mirror`.
"""
