"""The event log: append, read, writers, and append-only triggers."""
