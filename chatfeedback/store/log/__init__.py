"""The event log: append and read."""
