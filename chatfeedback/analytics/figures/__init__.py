"""Figures: aggregates of the recorded conversations and feedback."""
