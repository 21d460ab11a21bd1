"""What goes into the model and what comes out, found in the run: class names, transforms, ranges, thresholds."""
