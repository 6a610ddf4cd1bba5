"""The training loop, its checkpoints, and the run around it."""
