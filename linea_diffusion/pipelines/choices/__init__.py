"""What a loaded pipeline runs on and with: device and dtype, scheduler, LoRA. Imports shapeland, errors."""
