"""Conversations: events, state, decisions."""
