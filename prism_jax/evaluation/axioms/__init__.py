"""Axioms of the counterfactuals of a structural causal model: composition, reversibility and effectiveness."""
