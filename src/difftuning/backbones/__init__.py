"""Pretrained models: one file a family, all seen as a `Backbone`. The only package that knows diffusers' models."""
