"""Chat tab."""
