"""Queries that analytics and exports share."""
