"""One paper = one file: its settings, its objective, what it claims. The folder is the list of methods."""
