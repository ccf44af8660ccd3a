"""What a good placement is: one file a term, each frozen data with a plain way to compute its value."""
