"""Images in any order to normalised batches: for predicting."""
