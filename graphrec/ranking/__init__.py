"""An ordered list: features of a user and a candidate, the ranking head, rules, and reasons."""
