"""Projections: tables that can be rebuilt from the log."""
