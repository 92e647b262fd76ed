"""What is put on a device: runs and measures files there. On this machine, the same measuring loop."""
