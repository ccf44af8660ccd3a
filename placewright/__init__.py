"""Placewright, the application: reads a cloud, decides, plans, and carries the plan out."""
