"""Erasure: the one way by which text leaves the log."""
