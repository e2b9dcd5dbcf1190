"""The store: the append-only log, its projections, accounts, and the only SQL that writes."""
