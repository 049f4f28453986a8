"""Command `attune bridge`: maps the vectors of an old index into the space of another encoder."""
