"""Formats: how rows are written."""
