"""Projections: tables derived from the log, which can be rebuilt from it."""
