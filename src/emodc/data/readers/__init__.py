"""One file for every format in which labeled faces are distributed."""
