"""YAML -> checked Settings, without torch.

model             the sections of Settings: the only defaults, ranges, units, descriptions
animation         the sections of animations
methods           what settings know of each sampler and each loss, one row a method
fields            a setting's default and facts; the base class of the sections
kinds             each kind of value: how it is read, the words for what is allowed, its JSON schema
load              settings files -> runs, all errors together with file and line
layers            values of one key from several sources: which one wins, where it stands
sweep             a sweep or several documents -> one layer for each run
custom_network    what custom_config may say of an architecture
aliases           old names and other names of settings
network_defaults  what depends on the network: its defaults, sizes, CLIP flags
checks            what must fit together in stills
animation_checks  the same for animations
warnings          what is allowed but has no effect
docs              settings/default.yaml and settings/schema.json, generated
frame             the settings of frame k of an animation, as if it were a still
schedules         "[12]*400+[4]*600" -> Schedule
keyframes         "0: (1), 10: (1.05)" -> KeyFrames: a number for each frame
expression        formulas of frames, without eval
syntax            text -> the tree of Python's parser, within limits, for schedules and expressions
splines           splines through points, without numpy
prompts           "a lighthouse:2" -> Prompt(text, weight)
importers/        other tools' settings files -> ours
"""
