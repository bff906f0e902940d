"""A few hundred candidates: from the vector index, from the graph filter, from recent taste, from what is popular now."""
