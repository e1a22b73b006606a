"""Labelled data, answers and truth: the figures of a classifier."""
