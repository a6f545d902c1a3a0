"""A user's tokens: make, list, rotate, revoke."""
