"""Authentication: identify the user of a request; sign-in, sign-out and sessions."""
