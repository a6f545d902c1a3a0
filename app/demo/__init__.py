"""The demonstration: a sample album, the whole job through the REST API, and the report of it."""
