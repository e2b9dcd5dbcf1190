"""Use cases: what the page, the server and the command line call."""
