"""Accounts: annotators, users, sessions, secrets, pseudonyms, login throttle and audit."""
