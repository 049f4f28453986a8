"""`attune check`: facts of a data set before any run, and advice on what to reconsider.

The figures come from the functions of the stages, so they are those that the pipeline will have.
"""
