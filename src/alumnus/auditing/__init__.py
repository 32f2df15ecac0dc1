"""What candidate teachers are worth before anything is trained: measured on a sample of the data, with suggestions."""
