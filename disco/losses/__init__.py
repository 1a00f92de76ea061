"""The losses that guidance adds, and how their inputs are made.

pixel          spherical_dist, tv_loss, range_loss, sat_loss, and LOSSES, which guidance goes through
clip           cutouts of every CLIP, their distance from the prompts, backward in chunks
targets        prompts -> embeddings with weights
augment        augmentations of cutouts, batched
augment_dd57   torchvision's own chains of them, for compat: dd57 and image prompts
colour_jitter  colours of cutouts changed, each in its own order, with a backward by hand
"""
