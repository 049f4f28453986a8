"""`attune base`: what an encoder is, and the section `base` that pins it.

hub.py asks the hub, source.py reads a folder, endpoint.py asks an endpoint; section.py makes and writes the parameters,
command.py puts the lines together.
"""
