"""Where rules come from: what must hold, or should, on a cloud."""
