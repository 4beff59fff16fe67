"""Stages that change weights: masked LM, causal LM, classifier; each a LightningModule and a YAML."""
