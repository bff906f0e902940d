"""A few hundred candidates: from the vector index, from a walk on the graph, from what is popular now."""
