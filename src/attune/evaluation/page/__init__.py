"""The report as one self-contained HTML file: charts, rankings side by side, provenance.

Templates lie in `templates/`.
"""
