"""What is wrong with a set of pictures, and a better set made of it: `check` finds, `curate` chooses."""
