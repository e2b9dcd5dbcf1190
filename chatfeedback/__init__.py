"""chatfeedback: a chat platform that stores all human feedback on a model's replies.

Importing the package imports nothing heavy: submodules are imported where they are used.
"""

__version__ = "0.1.0"
