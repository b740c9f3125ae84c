"""Grows random forests in chunks of trees and scores them by their out-of-bag votes.

`growing` fits chunks of trees on a `training_set`, `resampling` draws each tree's rows, and `oob`
adds up the votes and estimates the score of the infinite forest from them. `fitting` fits complete
forests, such as the champion. The package imports top-level modules of `search` only and knows
nothing of studies, workers or MLflow. Start at `oob.OobSums`.
"""
