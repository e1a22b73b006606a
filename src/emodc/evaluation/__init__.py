"""Labeled data, answers and truth: the figures of a classifier."""
