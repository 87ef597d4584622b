"""Sampling over denoisers: wrappers that compose, seeds that do not depend on batches, and one loop."""
