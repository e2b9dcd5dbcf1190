"""Where everything is kept: the append-only log, the projections made from it, and the only SQL that writes."""
