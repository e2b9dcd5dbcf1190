"""Accounts: annotators, users, their sessions and secrets."""
