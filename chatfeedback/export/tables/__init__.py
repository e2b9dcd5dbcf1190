"""Tables: the rows of each dataset."""
