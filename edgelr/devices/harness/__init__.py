"""What is put on a device to run and measure files there, in one zip file; on this machine, the same measuring loops.

Nothing here imports the rest of edgelr, and all of it runs on Python 3.9.
"""
