"""The knowledge bank: samples drawn once from the pretrained model, and how they join the target in a batch.

    bank/card.json                           what it is, written last: a folder with a card is a finished bank
    bank/plan.json                           the same without digests, while it is being built
    bank/items-00000000-00000512.safetensors items 0 ... 511: `labels` (n,) int64, `latents` (n, C, H, W)

Shards are whole or not there; the folder becomes a bank when its card is written.
"""
