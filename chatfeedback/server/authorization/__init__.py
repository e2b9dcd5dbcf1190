"""Authorization: decide which requests reach the application."""
