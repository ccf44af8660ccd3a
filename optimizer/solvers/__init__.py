"""The solvers: the only place that knows ortools, and the one function to call, optimizer.solvers.portfolio.solve."""
