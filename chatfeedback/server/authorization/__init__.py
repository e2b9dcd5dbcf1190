"""Authorization: which request may reach what."""
