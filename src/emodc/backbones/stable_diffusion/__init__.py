"""Stable Diffusion checkpoints as backbones."""
