"""Plans, the time they take, their execution, and the clouds they can be carried out on."""
