"""The target's images: sources, splits, transforms, cached latents, and the order they are seen in."""
