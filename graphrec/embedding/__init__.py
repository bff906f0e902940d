"""From nodes to vectors: text, spectral coordinates, GraphSAGE and its incremental propagation."""
