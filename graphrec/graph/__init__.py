"""WHO TOUCHED WHAT: the vocabulary of node numbers and the growable user-item graph."""
