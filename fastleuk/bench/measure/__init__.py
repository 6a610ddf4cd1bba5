"""How it is measured: processes, clocks, memory, the machine."""
