"""Authentication: who a person is, and how they prove it. Authorization is in `server/authorization/policy.py`."""
