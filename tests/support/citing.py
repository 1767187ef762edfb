"""citing.py - lists of requirements that are checked, as programs: one line a fault.

Touches  standard output.
Never    decides what a fault is.
"""


def told(faults):
    """Prints them; the exit status."""
    found = list(faults)
    for fault in found:
        print(fault)
    return 1 if found else 0
