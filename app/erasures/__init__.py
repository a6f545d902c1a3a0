"""Erasing a user: everything of theirs goes, wherever it is; a report without a name stays for thirty days."""
