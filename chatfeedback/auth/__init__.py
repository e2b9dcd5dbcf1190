"""Access: who a person is, and how one proves it. What each may do is written in `server/authorization/policy.py`."""
