"""Optuna's studies: reading and writing trials and the notes kept with a study.

`study` opens studies, `trials` converts Optuna's trials to records, `trial_writer` writes them
from a thread of its own, and `statistics` counts and ranks them. The package may import
`leases` and the top-level modules of `storage`. Start at `study.StudyBook`.
"""
