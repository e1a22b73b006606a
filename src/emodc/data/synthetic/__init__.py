"""A small dataset that the package draws itself."""
