"""What a kind of task adds to a model: final layer, labels of a batch, loss and predictions."""
