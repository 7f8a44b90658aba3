"""Brain age from MRI: networks, training, prediction and report."""
