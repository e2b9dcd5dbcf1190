"""Tables: which rows an export has."""
