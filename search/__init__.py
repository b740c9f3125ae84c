"""Searches random forests: decides what to grow, has it grown, and keeps the best."""
