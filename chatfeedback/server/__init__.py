"""The HTTP server: FastAPI around the page."""
