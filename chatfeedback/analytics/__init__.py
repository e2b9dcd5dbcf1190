"""Analytics: figures on what was recorded. Read-only.

Each figure is a function from an open connection and `ResolvedFilters` to a data frame or a small frozen dataclass.
Several calls in one `read_snapshot` describe the same state of the database. docs/analytics.md defines each figure.
"""
