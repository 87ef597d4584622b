"""Where a model has forgotten: its error by noise level, and what swapping denoisers does to its samples."""
