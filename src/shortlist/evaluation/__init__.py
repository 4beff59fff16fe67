"""Evaluation of language models without fine-tuning on labels: one class and one YAML each."""
