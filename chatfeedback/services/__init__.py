"""Use cases: the services that the page, the server and the command line call."""
