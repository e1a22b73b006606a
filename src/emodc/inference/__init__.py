"""From a face to an answer."""
