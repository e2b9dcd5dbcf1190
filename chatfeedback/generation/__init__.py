"""Reply generation: from the first token to the stored end of a reply."""
