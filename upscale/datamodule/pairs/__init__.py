"""Pairs that exist already: songs beside their degraded versions, in files or in shards.

`folder` finds the pairs and their bitrates, `checks` looks at each pair once, by `alignment`; `clips` draws training
clips from them, out of `folder` or of `shards`; `module` is the LightningDataModule.
"""
