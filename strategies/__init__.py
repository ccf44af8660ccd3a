"""The strategies that come with Placewright; others are found by the entry point group placewright.strategies."""
