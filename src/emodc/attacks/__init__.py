"""Adversarial attacks on the decision rule as it is deployed, and checks that they are sound."""
