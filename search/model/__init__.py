"""Makes the champion: the best trial refitted, examined, packaged and registered.

`finalize` runs the steps in order, `champion` refits, `serialization` writes and reads the
model's folder, `registration` puts it into the MLflow Model Registry, and `reproduction` makes
it again from its record. The package may import `study`, `forest`, `data` and `storage`. Start
at `finalize`.
"""
