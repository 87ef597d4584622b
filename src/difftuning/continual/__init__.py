"""Continual transfer: one model through a stream of domains. What a stream is, what its memory keeps, what is measured of it."""
