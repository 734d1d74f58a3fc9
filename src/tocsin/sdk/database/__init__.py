"""What the application asks its databases: rows per kind of statement."""
