"""What the warmed-up model is fine-tuned and measured on."""
