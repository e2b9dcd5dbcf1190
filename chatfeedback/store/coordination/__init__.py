"""Coordination of processes: mutable, leased, never exported."""
