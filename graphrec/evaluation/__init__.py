"""How good is it: metrics, protocols that respect time, baselines and the report."""
