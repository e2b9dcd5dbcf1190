"""Conversations: events, state, fold and decisions."""
