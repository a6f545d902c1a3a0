"""The bridge: the only room that sees both the application's shared contract and the method."""
