"""Recipes as plain values: files, overrides, checks against a schema, and where a result came from."""
