"""The photos that segmentations list: how many, for how long, and what stays of them."""
