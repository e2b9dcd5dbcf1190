"""HTTP server: FastAPI around the Gradio page."""
