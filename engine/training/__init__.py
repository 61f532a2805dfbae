"""Training: the loop, and what surrounds it. May import `engine.scoring`; nothing there imports this."""
