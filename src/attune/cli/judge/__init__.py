"""`attune judge`: what nobody has judged, from a sheet that people or models fill in.

command.py asks how many mined negatives are answers after all, and estimate.py puts the interval around the share.
unjudged.py asks about the documents that base and tuned found for test queries, and adds what it hears to test.
sheet.py reads and writes both sheets, models.py lets a cross-encoder or a chat endpoint judge.
"""
