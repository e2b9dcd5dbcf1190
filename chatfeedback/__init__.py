"""chatfeedback: a chat platform that keeps everything people say about a model's replies.

Importing the package imports nothing heavy; every room is imported where it is used.
"""

__version__ = "0.1.0"
