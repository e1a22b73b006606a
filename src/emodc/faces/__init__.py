"""From an image to an aligned crop."""
