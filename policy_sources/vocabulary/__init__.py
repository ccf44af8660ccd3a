"""The words of rules: what can be asked for, of which servers and hosts, and what it means to the optimizer."""
