"""Leases: at any time one process coordinates a study.

`lease` takes, renews and checks a lease, and `store` keeps its row in the study's database, on
the database's clock. The package imports the top-level modules of `storage` only. Start at
`lease.Lease`.
"""
