"""Queries shared by analytics and exports: filters, snapshots, streaming."""
