"""The client's calls, written once, for asyncio. `make client` writes `app/client/_sync/` from this folder."""
