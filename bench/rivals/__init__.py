"""Systems that attune is compared with, and environments for those that cannot be installed beside it."""
