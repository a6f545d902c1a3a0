"""What the operator does to a deployment, directly on its database and blobs: no HTTP, no token, all users."""
