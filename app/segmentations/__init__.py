"""Segmentation jobs and the one-photo route."""
