"""Erasure: the one way to remove text from the log."""
