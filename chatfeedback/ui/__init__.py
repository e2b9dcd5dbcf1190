"""Gradio user interface, the only package that imports gradio: translate, call a service, render; decide nothing."""
