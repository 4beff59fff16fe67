"""Ways to question a language model as it is, without fine-tuning: one class and one YAML each."""
