"""Study of counterfactuals as data augmentation for classifiers, and its report."""
