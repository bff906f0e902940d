"""Everything with a gradient: GraphSAGE and the ranking head, trained from scratch."""
