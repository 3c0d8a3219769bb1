"""The study of whether counterfactuals make better classifiers, and its page."""
