"""Generation: a reply from its first token to its stored end."""
