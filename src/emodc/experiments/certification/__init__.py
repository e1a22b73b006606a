"""Certified robustness of models side by side: how far no attack alters the answer."""

from emodc.experiments.certification.measurement import Certification

__all__ = ["Certification"]
