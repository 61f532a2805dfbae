"""Reader processes: a pool that supervises them, what runs in them, the memory they share, and work per video."""
