"""The catalogue of checks: one file per check or close family, each check with a code, a title and a status.

The verdict, the gate's rules, the looks of `attune check`, leaks, drift, overfitting, parity and warnings. A new check
is one file here (`catalogue` finds it) and one test; its paragraph in docs/gate.md is its docstring.
"""
