"""What was recorded, as figures. Reads only.

One function a figure, of an open connection and `Filters`, to a data frame or a small frozen dataclass. They may be
called one after the other in one `read_snapshot`, and then describe the same state of the database. docs/analytics.md
says in words what each figure counts.
"""
