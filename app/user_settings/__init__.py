"""What a user has chosen."""
