"""The report: verdict, overfitting, summary and examples, as JSON and Markdown; the model card.

Templates lie in `templates/`.
"""
