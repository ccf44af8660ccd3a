"""What is kept in a database: executions of plans."""
