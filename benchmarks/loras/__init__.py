"""The study of LoRAs of the embedded model: trained for it or given, beside the plain sampler and a preset."""
