"""Fitting the decision on validation data."""
