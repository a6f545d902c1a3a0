"""The versions of a user's model."""
