"""One file for every format in which labelled faces are distributed."""
