"""A network with everything needed to use it."""
