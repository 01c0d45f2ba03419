"""What operating systems do in ways of their own: locks, limits, the loop, signals, files.

Chosen by what is there, not by the system's name. On Linux each is the plain call.
"""
