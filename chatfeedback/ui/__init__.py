"""The browser's side: the only place that imports gradio. Translates, calls the service, presents; decides nothing."""
