"""Training of the query adapter: a map of the base encoder's query embeddings over frozen document embeddings."""
