"""What a run found, for people: one HTML file, and the same table for a terminal and for Markdown."""
