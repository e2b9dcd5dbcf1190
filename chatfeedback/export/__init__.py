"""Exports: the log, the messages and the feedback as tables, streamed from one state of the database.

`kinds` says what can be exported: columns, and an iterator of rows. `writers` turn any columns and rows into lines
of CSV or JSON. `stream` joins the two; `command` sends the bytes to a file, `server/downloads.py` to a browser. Nothing
is ever held whole, and the same state of the database gives the same bytes.
"""
