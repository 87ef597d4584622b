"""The training loop and what it needs: optimiser, moving average, checkpoints, hooks."""
