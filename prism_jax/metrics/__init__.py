"""What is measured on images: agreement, counterfactual truth, and the intervals every number carries."""
