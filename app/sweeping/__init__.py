"""Removes blobs that no row speaks of: what crashes leave behind. Used by the API, the workers and the command line."""
