"""Requests to OpenAI-compatible endpoints: a bounded client, failures in one line, answers kept on disk."""
