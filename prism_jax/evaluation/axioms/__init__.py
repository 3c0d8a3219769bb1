"""What a structural causal model obeys: composition, reversibility and effectiveness of its counterfactuals."""
