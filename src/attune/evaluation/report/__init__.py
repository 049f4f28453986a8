"""The report in Markdown and the model card: verdict, overfitting, summary, examples.

Templates lie in `templates/`.
"""
