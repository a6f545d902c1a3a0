"""Telling the end of jobs to whom it concerns. `outbox` and `addresses` are shared with the workers, which send."""
