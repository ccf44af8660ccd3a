"""What a placement must obey: one file a rule, each frozen data with an independent checker."""
