"""Figures: what is computed of the feedback."""
