"""What is read from a cloud: inventory from Nova and Placement, load from Gnocchi. Nothing here changes it."""
