"""The core of Placewright: the cluster, the problem, the solvers. No network, no clock, no OpenStack client."""
