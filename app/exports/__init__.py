"""A user's masks as one zip, in the formats of other tools."""
