"""Analytics tab."""
