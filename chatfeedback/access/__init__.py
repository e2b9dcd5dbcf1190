"""Access: who a person is, and by whose word."""
