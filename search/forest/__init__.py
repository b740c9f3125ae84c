"""Grows random forests in chunks of trees and scores them by their out-of-bag votes.

The package holds the statistics of the search: `growing` fits chunks and `oob` adds up their
votes and estimates the score of the infinite forest. It imports the top-level modules of
`search` only, and knows nothing of studies, workers or MLflow. Start at `oob.ForestSums`.
"""
