"""A few hundred candidates: from the vector index, the graph filter, recent taste and what is popular now."""
