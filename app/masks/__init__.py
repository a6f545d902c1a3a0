"""Masks in every format."""
