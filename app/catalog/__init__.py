"""Base models and their classes."""
