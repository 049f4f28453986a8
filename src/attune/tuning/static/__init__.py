"""Training of the static query encoder: token vectors over the frozen document embeddings of another encoder."""
