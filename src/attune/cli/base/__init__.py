"""`attune base`: what an encoder is, and the section `base` that pins it.

hub.py asks the hub, folder.py reads a folder; settings.py reads what either has, families.py knows the conventions of
known families, section.py makes and writes the parameters, command.py puts the lines together.
"""
