"""Independent referees of the published problems: they share no code with the product."""
