"""`attune judge`: how many mined negatives are answers after all, from a sheet that people or models judge.

sheet.py reads and writes the sheet, models.py lets a cross-encoder or a chat endpoint judge, estimate.py puts the
interval around the share, command.py joins them.
"""
