"""Adaptation jobs: a user's own model from a user's photos."""
