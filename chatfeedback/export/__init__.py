"""Exports: the log, the messages and the feedback as tables, streamed from one snapshot of the database.

`tables` define the datasets: columns, and an iterator of rows. `formats` turn columns and rows into lines of CSV or
JSON. `stream` joins the two. `to_file` sends the bytes to a file, `server/downloads.py` to a browser. Memory stays
flat, and the same snapshot gives the same bytes.
"""
