"""Measurements: quality, and later speed and load. Each prints a table and writes JSON."""
