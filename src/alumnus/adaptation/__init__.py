"""A student for a new task: what is trained on it with few labels."""
