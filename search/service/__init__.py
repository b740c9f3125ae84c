"""The operations behind the commands: whole tasks from request to result.

`launch` runs a study from its specification to the registered model, `detached` runs it on a
cluster, and `supervisor` watches workers and stop requests meanwhile. `sync`, `deletion` and
`doctor` are the commands of the same names. The package may import every package of `search`
except `cli`, `api` and `estimators`. Start at `launch.launch`.
"""
