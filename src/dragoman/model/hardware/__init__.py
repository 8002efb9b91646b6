"""How a model is held on this machine: number format, devices, memory."""
