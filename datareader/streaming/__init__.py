"""Videos that arrive while they are seen: cameras, network addresses, pipes."""
