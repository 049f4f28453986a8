"""Rivals that attune is compared with, and the environments of those that cannot live in its own."""
