"""The shell: it wires the rooms together and decides nothing."""
